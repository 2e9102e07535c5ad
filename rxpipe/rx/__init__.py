"""Generic Rx parts that know no event of rxpipe: a subject, operators, a worker, schedulers for GUI threads."""
