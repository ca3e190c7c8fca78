"""The first failure in vLLM's log, in the shapes that vLLM, torch, uvicorn, argparse and the kernel write."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tasks.rollout.engine_log import Failure, first_failure
from tasks.rollout.evidence import LEFT_OUT, joined

POINTS = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): "


def record(process: str, where: str, *texts: str) -> list[str]:
    return [f"({process} pid=7) ERROR 11-28 14:49:11 [{where}] {text}" for text in texts]


def worker(rank: int, *exception: str) -> list[str]:
    said = (
        "WorkerProc failed to start.",
        "Traceback (most recent call last):",
        '  File "vllm/x.py", line 3, in f',
    )
    return record(f"Worker_TP{rank}", "multiproc_executor.py:953", *said, *exception)


def raised(*exception: str, process: str = "") -> list[str]:
    lines = [
        "Traceback (most recent call last):",
        '  File "/usr/lib/python3/dist-packages/vllm/y.py", line 4, in g',
        *exception,
    ]
    return [f"({process} pid=1) {line}" for line in lines] if process else lines


def failed(lines: Sequence[str]) -> Failure:
    found = first_failure(lines)
    assert found is not None
    return found


def test_of_ranks_that_write_at_once_the_one_with_an_error_of_its_own_is_taken() -> None:
    lost = worker(
        0, "RuntimeError: [/pytorch/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.1]:5"
    )
    full = worker(1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.")
    alternating = [line for pair in zip(lost, full, strict=True) for line in pair]
    found = failed([*alternating, *raised(POINTS + "{'EngineCore': 1}", process="APIServer")])
    assert (found.process, found.exception) == ("Worker_TP1", "OutOfMemoryError")
    assert found.place == "vllm/x.py:3 in f"


def test_what_follows_from_anothers_end_is_told_where_there_is_nothing_else() -> None:
    lines = worker(0, "RuntimeError: Connection closed by peer")
    assert failed([*lines, *raised(POINTS + "{}")]).message == "Connection closed by peer"


@pytest.mark.parametrize(
    ("line", "process", "signal"),
    [
        (raised(POINTS + "{'EngineCore_DP0': -9}"), "EngineCore_DP0", 9),
        (
            record("EngineCore", "multiproc_executor.py:316", "Worker proc VllmWorker-1 died unexpectedly (exit code: -7), shutting down executor."),
            "VllmWorker-1",
            7,
        ),
    ],
)  # fmt: skip
def test_a_process_that_a_signal_ended_is_told_with_it(line: list[str], process: str, signal: int) -> None:
    found = failed([*line, *raised(POINTS + "{'EngineCore': 1}")])
    assert (found.process, found.signal) == (process, signal)


@pytest.mark.parametrize(
    ("lines", "alone"),
    [
        ([*worker(0, "RuntimeError: Connection closed by peer"), *worker(1, "RuntimeError: NaN")], True),
        ([*worker(0, "RuntimeError: NaN"), *worker(1, "RuntimeError: NaN")], False),
        (record("EngineCore", "core.py:1510", "EngineCore failed to start.", *raised("ValueError: no")), False),
        (record("EngineCore", "multiproc_executor.py:321", "Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down executor."), True),
    ],
)  # fmt: skip
def test_a_rank_that_failed_alone_is_told_from_ranks_that_all_did(lines: list[str], alone: bool) -> None:
    assert failed([*lines, *raised(POINTS + "{'EngineCore': 1}")]).alone is alone


def test_a_rank_that_is_killed_while_it_serves_is_told_though_the_server_writes_last() -> None:
    """As vLLM 0.32.0 writes it: monitor_workers, run_engine_core, output_handler."""
    lines = [
        "(APIServer pid=1) INFO:     Application startup complete.",
        *record("EngineCore", "multiproc_executor.py:321", "Worker proc VllmWorker-2 died unexpectedly (exit code: -9), shutting down executor."),
        *record("EngineCore", "core.py:1512", "EngineCore encountered a fatal error.", *raised("RuntimeError: Executor failed.")),
        *record("APIServer", "async_llm.py:906", "AsyncLLM output_handler failed.", *raised("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.")),
    ]  # fmt: skip
    found = failed(lines)
    assert (found.process, found.signal, found.alone, found.served) == ("VllmWorker-2", 9, True, True)


def test_an_architecture_that_cannot_be_inspected_is_told_by_the_error_in_the_log_before() -> None:
    inner = record(
        "APIServer", "registry.py:1119", "Error in inspecting model architecture 'X'", "Traceback (most recent call last):",
        '  File "vllm/z.py", line 4, in g', "RuntimeError: Error raised in subprocess:", "Traceback (most recent call last):",
        '  File "vllm/q.py", line 4, in g', "ImportError: libcudart.so.13: cannot open shared object file",
    )  # fmt: skip
    outer = raised(
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
        "  Value error, Model architectures ['X'] failed to be inspected. Please check the logs for more details. [type=value_error, input_value=1]",
        "    For further information visit https://errors.pydantic.dev/2.14/v/value_error",
    )
    assert failed([*inner, *outer]).line == "ImportError: libcudart.so.13: cannot open shared object file"


def test_a_chain_is_kept_with_what_it_was_raised_from() -> None:
    lines = [
        *raised("KeyError: 'rope'"),
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        *raised("ValueError: no rope"),
    ]
    found = failed(lines)
    assert found.line == "ValueError: no rope"
    assert found.direct
    assert [str(one) for one in found.chain] == ["KeyError: 'rope'"]


def test_several_errors_of_one_config_are_told_with_their_fields() -> None:
    lines = raised(
        "pydantic_core._pydantic_core.ValidationError: 2 validation errors for ParallelConfig",
        "tensor_parallel_size",
        "  Input should be greater than or equal to 1 [type=greater_than_equal, input_value=0, input_type=int]",
        "    For further information visit https://errors.pydantic.dev/2.14/v/greater_than_equal",
        "distributed_executor_backend",
        "  Input should be 'ray' or 'mp' [type=literal_error, input_value='x', input_type=str]",
        "    For further information visit https://errors.pydantic.dev/2.14/v/literal_error",
    )
    assert failed(lines).message == (
        "ParallelConfig.tensor_parallel_size: Input should be greater than or equal to 1; "
        "ParallelConfig.distributed_executor_backend: Input should be 'ray' or 'mp'"
    )


def test_an_engine_that_dies_after_it_came_up_is_said_to_have_served() -> None:
    lines = [
        "INFO:     Application startup complete.",
        *record("EngineCore", "core.py:1510", "EngineCore encountered a fatal error.", *raised("torch.AcceleratorError: CUDA error: an illegal memory access was encountered")),
        *record("APIServer", "async_llm.py:787", "AsyncLLM output_handler failed.", *raised("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.")),
        "INFO:     Shutting down",
    ]  # fmt: skip
    found = failed(lines)
    assert found.served
    assert found.process == "EngineCore"
    assert "illegal memory access" in found.message


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([f"[rank0]: {line}" for line in raised("ValueError: no room")], "ValueError: no room"),
        ([*raised("ValueError: boo"), "", "ERROR:    Application startup failed. Exiting."], "ValueError: boo"),
        (["ERROR:    Traceback (most recent call last):", *raised("OSError: boo")[1:]], "OSError: boo"),
        (
            ["usage: vllm serve [model_tag] [options]", "vllm serve: error: argument --tensor-parallel-size/-tp: invalid int value: 'two'"],
            "usage: argument --tensor-parallel-size/-tp: invalid int value: 'two'",
        ),
        (["terminate called after throwing an instance of 'c10::Error'", "  what():  no driver"], "terminate called after throwing an instance of 'c10::Error' what(): no driver"),
        (["", "Fatal Python error: Segmentation fault", ""], "Fatal Python error: Segmentation fault"),
        (["(EngineCore_DP0 pid=99) torch.OutOfMemoryError: CUDA out of memory."], "OutOfMemoryError: CUDA out of memory."),
        ([f"\x1b[36m(EngineCore pid=3)\x1b[0;0m {line}" for line in raised("ValueError: coloured")], "ValueError: coloured"),
        # vLLM before 0.10
        (
            [*(f"ERROR 04-01 01:02:03 [engine.py:411] {line}" for line in raised("ValueError: old")), "Process SpawnProcess-1:", *raised("ValueError: old"),
             *raised("RuntimeError: Engine process failed to start. See stack trace for the root cause.")],
            "ValueError: old",
        ),
    ],
)  # fmt: skip
def test_other_shapes_of_an_end_are_read(lines: list[str], told: str) -> None:
    assert failed(lines).line == told


@pytest.mark.parametrize(
    "lines",
    [
        ["INFO 11-21 [api_server.py] vLLM API server version 0.32.0"],
        ["(APIServer pid=1) WARNING 11-28 14:40:26 [system_utils.py:255] errors like `OSError: [Errno 24] Too many open files`."],
        ["Exception in thread Thread-1 (_report_usage_worker):", *raised("requests.exceptions.ConnectionError: stats.vllm.ai")],
        ["Exception ignored in: <function X.__del__ at 0x7f>", *raised("TypeError: 'NoneType' object is not callable")],
        record("APIServer", "serving.py:99", "Error in preprocessing prompt inputs", *raised("ValueError: too long")),
        [],
    ],
)  # fmt: skip
def test_what_a_process_survives_is_no_failure(lines: list[str]) -> None:
    assert first_failure(lines) is None


def test_a_long_log_is_read_at_both_ends() -> None:
    start, end = [str(n) for n in range(100)], [str(n) for n in range(90, 200)]
    assert joined([*start, "10"], end) == tuple(str(n) for n in range(200))
    assert joined(["a", "b", "cu"], ["x", "y"]) == ("a", "b", LEFT_OUT, "x", "y")
