"""A1111's prompt syntax becomes ComfyUI's; what ComfyUI cannot say is a warning."""

from __future__ import annotations

import pytest

from rxpipe.backends.comfyui.prompts import rewritten
from rxpipe.backends.prompts import Lora


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("a lighthouse", "a lighthouse"),
        ("(a)", "(a:1.1)"),
        ("(a:1.2)", "(a:1.2)"),
        ("[x]", "(x:0.909)"),
        ("((a:1.2))", "(a:1.32)"),
        ("((a))", "(a:1.21)"),
        ("([a])", "a"),
        ("((a (b:1.5)) c)", "(a :1.21)(b:1.815)( c:1.1)"),
        (r"a \(b\)", r"a \(b\)"),
        (r"\[x\]", "[x]"),
        ("open (a", "open (a:1.1)"),
        ("a) b", r"a\) b"),
        ("", ""),
        ("a, (b:0.5), c:d", "a, (b:0.5), c:d"),
        ("badhand, easy", "embedding:badhand, easy"),
        ("(BadHand:0.8)", "(embedding:BadHand:0.8)"),
        ("embedding:badhand", "embedding:badhand"),
        ("badhands", "badhands"),
        ("wind\\turbine", "wind\\turbine"),
    ],
)
def test_weights_are_multiplied_out(prompt, text):
    assert rewritten(prompt, embeddings=["badhand"]).parts == ((text,),)


def test_loras_leave_the_text_with_both_strengths():
    found = rewritten("a <lora:x:0.5><lora:sub/y:1:0.2><lora:z><lora:w:te=0.3:unet=0.4> b")

    assert found.parts == (("a  b",),)
    assert found.loras == (Lora("x", 0.5, 0.5), Lora("sub/y", 1, 0.2), Lora("z", 1, 1), Lora("w", 0.3, 0.4))
    assert found.warnings == ()


def test_break_and_and_make_parts():
    assert rewritten("a BREAK b AND c").parts == (("a", "b"), ("c",))
    assert rewritten("SANDSTONE BREAKFAST").parts == (("SANDSTONE BREAKFAST",),)


@pytest.mark.parametrize(
    ("prompt", "text", "said"),
    [
        ("[a:b:0.3]", "b", "[a:b:0.3] is taken as 'b'"),
        ("[a:b:0.8]", "a", "[a:b:0.8] is taken as 'a'"),
        ("[a:b:5]", "b", "[a:b:5] is taken as 'b'"),
        ("[a|b]", "a", "[a|b] is taken as 'a'"),
        ("x<hypernet:h:1>", "x", "no hypernet"),
        ("x<lora::1>", "x", "cannot be read"),
    ],
)
def test_what_comfyui_cannot_say_is_a_warning(prompt, text, said):
    found = rewritten(prompt, steps=20)

    assert found.parts == ((text,),)
    assert said in found.warnings[0]


def test_weights_of_and_have_no_effect_and_that_is_said():
    found = rewritten("a cat :1.2 AND a dog")

    assert found.parts == (("a cat",), ("a dog",))
    assert "1.2" in found.warnings[0]
