"""Generic Rx parts that know no event of rxpipe: a serial queue, a subject, operators, a worker, GUI schedulers."""
