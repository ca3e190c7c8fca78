"""The product's table of engine flags beside the sandbox's: made apart from one wheel, so that each shows the other's mistakes."""

from __future__ import annotations

from slipway_sandbox.testing import engine_flags

from tasks.preflight.flags import flags_of


def test_the_sandboxs_vllm_has_the_same_flags() -> None:
    """The product's is read out of the wheel, the sandbox's comes from running its parser."""
    table = flags_of("0.32.0")
    assert table
    theirs = engine_flags("0.32.0")
    ours = {spelling: kind for spelling, kind in table.kinds.items() if not spelling.startswith("--no-")}
    assert set(ours) == set(theirs)
    same = {"switch": "boolean", "optional": "text", "choice": "text"}
    differing = {
        flag for flag, kind in ours.items() if theirs[flag] not in (kind, same.get(kind)) and kind != "list"
    }
    # the sandbox reads these a little more or less strictly; none is a flag Slipway sets
    assert differing <= {
        "--additional-config",
        "--device-ids",
        "--model-loader-extra-config",
        "--quantization-config",
        "--safetensors-prefetch-block-size",
    }
