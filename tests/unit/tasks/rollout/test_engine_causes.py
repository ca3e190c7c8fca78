"""Kinds of failures by the words of their raise sites, in vLLM 0.32.0 and what it runs with, beyond the logs there are."""

from __future__ import annotations

import pytest

from tasks.rollout.engine_causes import FAMILIES, tell
from tasks.rollout.engine_log import Failure, first_failure
from tasks.rollout.refused_settings import REFUSED

# what is raised, in which function of which file, its kind
RAISED = [
    ("ValueError: Free memory on device cuda:0 (1.02/21.98 GiB) on startup is less than desired GPU memory utilization (0.9, 19.79 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.", "", "gpu-taken"),
    ("RuntimeError: CUDA out of memory occurred when warming up sampler with 256 dummy requests. Please try lowering `max_num_seqs` or `gpu_memory_utilization` when initializing the engine.", "", "sampler-memory"),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has a total capacity of 21.98 GiB", "", "gpu-memory"),
    ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine", "", "no-cache-memory"),
    ("ValueError: Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token.", "", "no-cache-memory"),
    ("ValueError: max_num_seqs (256) exceeds available Mamba cache blocks (64). Each decode sequence requires one Mamba cache block", "", "mamba-cache"),
    ("ValueError: The model's max seq len (131072) is larger than the maximum number of tokens that can be stored in KV cache (5024).", "", "kv-cache"),
    ("ValidationError: VllmConfig: The quantization method fp8 is not supported for the current GPU. Minimum capability: 89. Current capability: 75.", "", "quantization-gpu"),
    ("ValidationError: ModelConfig: Quantization method specified in the model config (gptq) does not match the quantization method specified in the `quantization` argument (awq).", "", "quantization-differs"),
    ("ValidationError: ModelConfig: Unknown quantization method: foo. Must be one of ['awq'].", "", "quantization-unknown"),
    ("ValidationError: VllmConfig: torch.bfloat16 is not supported for quantization method awq. Supported dtypes: [torch.float16]", "", "quantization-dtype"),
    ("ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has compute capability 7.5.", "", "bfloat16"),
    ("ValidationError: ModelConfig: The model type 'gemma2' does not support float16. Reason: Numerical instability.", "", "dtype"),
    ("ValidationError: ModelConfig: Model architecture MotifForCausalLM was supported in vLLM until v0.10.2, and is not supported anymore.", "", "architecture"),
    ("ValueError: No model architectures are specified", "", "no-architecture"),
    ("RuntimeError: Failed to load the model config. If the model is a custom model ... consider setting `trust_remote_code=True`", "", "remote-code"),
    ("OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.", "transformers/dynamic_module_utils.py in get_cached_module_file", "code-elsewhere"),
    ("LocalEntryNotFoundError: Cannot find the requested files in the disk cache and outgoing traffic has been disabled.", "transformers/dynamic_module_utils.py in get_cached_module_file", "code-elsewhere"),
    ("OSError: We couldn't connect to 'https://huggingface.co' to load the files", "transformers/utils/hub.py in cached_files", "hub"),
    ("huggingface_hub.errors.GatedRepoError: 401 Client Error.", "", "gated"),
    ("ValidationError: VllmConfig: World size (4) is larger than the number of available GPUs (1) in this node. If this is intentional", "", "more-ranks"),
    ("ValueError: Weight input_size_per_partition = 9472 is not divisible by min_thread_k = 128. Consider reducing tensor_parallel_size", "", "divisible"),
    ("AssertionError: 10 is not divisible by 4", "vllm/distributed/utils.py in ensure_divisibility", "divisible"),
    ("AssertionError", "vllm/distributed/utils.py in divide", "divisible"),
    ("ValidationError: SchedulerConfig: max_num_batched_tokens (64) must be greater than or equal to max_num_seqs (128).", "", "batched-seqs"),
    ("ValidationError: SchedulerConfig.max_num_seqs: Input should be greater than or equal to 1", "", "config-value"),
    ("ValidationError: SpeculativeConfig: num_speculative_tokens was provided but without speculative model.", "", "speculative"),
    ("KeyError: 'invalid reasoning parser: nope (chose from { qwen3 })'", "", "parser-name"),
    ("VLLMValidationError: The supplied chat template string (/models/no.jinja) appears path-like, but doesn't exist! Tried: /models/no.jinja", "", "chat-template"),
    ("ValueError: LoRA rank 64 is greater than max_lora_rank 16.", "", "lora-rank"),
    ("LoRAAdapterNotFoundError: Loading lora sql failed: No adapter found for /models/sql", "", "lora-missing"),
    ("ValueError: While loading /models/sql, expected target modules in ['qkv_proj'] but received ['foo'].", "", "lora"),
    ("ValueError: No valid attention backend found for cuda with AttentionSelectorConfig(head_size=72)", "", "attention"),
    ("ValueError: Invalid value 'FOO' for VLLM_ATTENTION_BACKEND. Valid options: ['FLASH_ATTN'].", "", "variable"),
    ("AttributeError: 'LlamaConfig' object has no attribute 'num_attention_heads'", "", "config-lacks"),
    ("OSError: Can't load tokenizer for '/models/x'. If you were trying to load it from 'https://huggingface.co/models'", "", "tokenizer"),
    ("OSError: /models/x does not appear to have a file named configuration_foo.py. Checkout 'https://huggingface.co//models/x'", "", "file-missing"),
    ("Exception: data did not match any variant of untagged enum ModelWrapper at line 250373 column 3", "vllm/tokenizers/registry.py in get_tokenizer", "tokenizer-cut"),
    ("OSError: Can't load image processor for '/models/x'. Make sure it has a preprocessor_config.json file", "", "processor"),
    ("AssertionError: Attempted to load weight (torch.Size([64, 64])) into parameter (torch.Size([128, 64]))", "", "tensors-differ"),
    ("KeyError: 'layers.0.mlp.foo.weight'", "vllm/model_executor/models/llama.py in load_weights", "tensors-differ"),
    ("ValueError: There is no module or parameter named 'model.foo' in LlamaForCausalLM.", "vllm/model_executor/models/utils.py in _load_module", "tensors-differ"),
    ("_pickle.UnpicklingError: Weights only load failed.", "vllm/model_executor/model_loader/weight_utils.py in pt_weights_iterator", "weights-cut"),
    ("OSError: [Errno 28] No space left on device: '/tmp/torchinductor'", "", "disk-full"),
    ("OSError: [Errno 28] No space left on device: '/dev/shm/psm_1'", "", "shared-memory"),
    ("OSError: [Errno 30] Read-only file system: '/models/.cache'", "", "read-only"),
    ("PermissionError: [Errno 13] Permission denied: '/root/.cache'", "", "permission"),
    ("OSError: [Errno 5] Input/output error", "", "io-error"),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/models/a--b/c/config.json'", "", "model-folder"),
    ("botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling the ListObjectsV2 operation: Access Denied", "", "object-store"),
    ("RuntimeError: The NVIDIA driver on your system is too old (found version 12020).", "", "driver"),
    ("RuntimeError: Failed to infer device type, please set the environment variable `VLLM_LOGGING_LEVEL=DEBUG`", "", "no-gpu"),
    ("RuntimeError: CUDA error: no kernel image is available for execution on the device CUDA kernel errors might be", "", "no-kernel"),
    ("torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered", "", "gpu-broken"),
    ("torch.AcceleratorError: CUDA error: an illegal memory access was encountered CUDA kernel errors might be asynchronously", "", "gpu-error"),
    ("RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)", "", "nccl"),
    ("torch.distributed.DistNetworkError: The client socket has timed out after 600000ms while trying to connect", "", "ranks-late"),
    ("TimeoutError: Timed out waiting for engine core processes to start. This is often caused by slow weight loading for large models. Waited 600s (configured by VLLM_ENGINE_READY_TIMEOUT_S).", "", "engine-late"),
    ("OSError: [Errno 98] Address already in use", "", "port-taken"),
    ("RuntimeError: Failed to find C compiler. Please specify via CC environment variable", "", "compiler"),
    ("torch._inductor.exc.InductorError: LoweringException: boo", "", "compile"),
    ("ModuleNotFoundError: No module named 'mamba_ssm'", "", "package"),
    ("ImportError: libcudart.so.13: cannot open shared object file: No such file or directory", "", "library"),
    ("RuntimeError: [enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory", "", "host-memory"),
    ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "", "network"),
    ("TypeError: Error: --enable-log-outputs requires --enable-log-requests", "vllm/entrypoints/launchers/cli_args.py in validate_parsed_serve_args", "flags-refused"),
    ("OSError: [Errno 24] Too many open files", "", "descriptors"),
    ("ValidationError: ModelConfig: This model does not support `--runner generate`.", "", "runner"),
    ("NotImplementedError: Pipeline parallelism is not supported for this model.", "", "pipeline"),
    # of people's issues and of raise statements in the wheel that no log here had
    ("ValueError: FP8 KV cache is not supported by the Triton attention backend on NVIDIA A10G (compute capability 8.6); native FP8 (fp8e4nv) requires SM89+. Re-run with --kv-cache-dtype bfloat16.", "", "kv-cache-dtype"),
    ("ValidationError: VllmConfig: GPTQ group activation ordering (desc_act=True) is no longer supported. Use a checkpoint with static activation ordering or desc_act=False.", "", "activation-order"),
    ("ValueError: Compressed-tensors group/dynamic activation ordering (actorder='group') is no longer supported. Use a checkpoint with static/weight activation ordering or without activation ordering.", "", "activation-order"),
    ("ValidationError: ModelConfig: Unrecognized model in /models/x. Should have a `model_type` key in its config.json.", "", "no-model-type"),
    ("ValidationError: ModelConfig: Unknown quantization method: bitsandbytes. Must be one of ['awq'].", "", "quantization-unknown"),
    ("Exception: EOF while parsing a list at line 1687 column 7", "vllm/tokenizers/hf.py in from_pretrained", "tokenizer-cut"),
    ("RuntimeError: Quantization scheme is not supported for the current GPU. Min capability: 89. Current capability: 75.", "", "quantization-gpu"),
    ("NotImplementedError: No compressed-tensors compatible scheme was found for layer_name='model.layers.0.self_attn.qkv_proj', weight_quant=..., input_quant=None", "", "quantization-scheme"),
    ("ValueError: Found different quantization schemes for the shards of model.layers.0.feed_forward.gate_up_proj. vLLM requires all to use the same scheme.", "", "quantization-scheme"),
    ("RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() that might have already set an error? Error 803: system has unsupported display driver / cuda driver combination", "", "driver"),
    ("RuntimeError: CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env variable CUDA_VISIBLE_DEVICES after program start. Setting the available devices to be zero.", "", "no-gpu"),
    ("RuntimeError: Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the 'spawn' start method", "", "fork"),
    ("ImportError: cannot import name 'Gemma3nConfig' from 'transformers' (/usr/local/lib/python3.12/dist-packages/transformers/__init__.py)", "", "versions"),
    ("ImportError: /usr/local/lib/python3.12/dist-packages/vllm/_C.abi3.so: undefined symbol: _ZN3c104cuda9SetDeviceEa", "", "library"),
    ("ValueError: Ray does not allocate any GPUs on the driver node. Consider adjusting the Ray placement group or running the driver on a GPU node.", "", "more-ranks"),
    ("ValueError: The number of required GPUs exceeds the total number of available GPUs in the placement group.", "", "more-ranks"),
    ("RuntimeError: size_k must divisible by BLOCK_SIZE_K", "", "divisible"),
    ("AssertionError: If tensor parallel world size does not divide num_groups, then num_groups must equal 1.", "vllm/model_executor/layers/mamba/mamba_mixer2.py in __init__", "divisible"),
    ("AssertionError: 8192 is not divisible by 3", "vllm/distributed/utils.py in ensure_divisibility", "divisible"),
    ("ValueError: The output_size of gate's and up's weight = 192 is not divisible by weight quantization block_n = 128.", "", "divisible"),
    ("ValueError: Following weights were not initialized from checkpoint: {'model.layers.0.mlp.gate_up_proj.qweight'}", "", "tensors-missing"),
    ("KeyError: 'layers.0.self_attn.qkv_proj.weight_scale'", "vllm/model_executor/models/qwen2.py in load_weights", "tensors-differ"),
    ("ValidationError: VllmConfig: Model Runner V2 does not yet support: pooling models", "", "config-refused"),
    ("ValidationError: VllmConfig: KV connector NixlConnector is incompatible with PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True unless enable_cumem_allocator is also enabled.", "", "connector"),
    ("ValueError: Unsupported KV connector type: Nope", "", "connector"),
    ("ValidationError: StructuredOutputsConfig.backend: Input should be 'auto', 'xgrammar', 'guidance', 'outlines' or 'lm-format-enforcer'", "", "config-value"),
    ("ValidationError: ParallelConfig: data_parallel_rank (4) must be in the range [0, 4)", "", "config-value"),
    ("ValidationError: ModelConfig: rope_parameters should have a 'rope_type' key", "", "config-field"),
    ("KeyError: \"Missing required keys in `rope_parameters` for 'rope_type'='longrope': {'original_max_position_embeddings'}\"", "transformers/modeling_rope_utils.py in _check_received_keys", "config-field"),
    ("StrictDataclassFieldValidationError: Validation error for field 'hidden_size': TypeError: Field 'hidden_size' expected int, got str (value: 'wide')", "", "config-field"),
    ("StrictDataclassClassValidationError: Class validation error for validator 'validate_layer_type': ValueError: `num_hidden_layers` (81) must be equal to the number of `layer_types` (54)", "", "config-field"),
    ("ValueError: Layer 0 (linear_attention) does not dispatch through the Transformers attention interface and vLLM has no other way to handle it.", "", "transformers-backend"),
    ("RuntimeError: Sparse Attention Indexer CUDA op requires DeepGEMM support in the current vLLM environment.", "", "needs-kernels"),
    ("ValueError: Unable to find a user specified template: tool_chat_template_mistral.jinja", "", "chat-template"),
    ("jinja2.exceptions.TemplateSyntaxError: unexpected end of template, this print statement was not ended.", "", "chat-template"),
    ("OSError: Error no file named pytorch_model.bin, model.safetensors found in directory /models/x", "", "weights-missing"),
    ("torch.AcceleratorError: CUDA error: the launch timed out and was terminated", "", "gpu-error"),
    ("RuntimeError: Triton Error [CUDA]: device kernel image is invalid", "", "no-kernel"),
    ("RuntimeError: Internal Triton PTX codegen error ptxas fatal : Value 'sm_121a' is not defined for option 'gpu-name'", "", "no-kernel"),
    ("torch.cuda.OutOfMemoryError: CUDA out of memory.", "", "gpu-memory"),
    ("RuntimeError: Failed to load model - not enough GPU memory. Try lowering --gpu-memory-utilization to free memory for weights, increasing --tensor-parallel-size", "", "gpu-memory"),
    ("OSError: [Errno 12] Cannot allocate memory", "", "host-memory"),
    ("RuntimeError: unable to write to file </torch_123_0>: No space left on device (28)", "", "shared-memory"),
    ("RuntimeError: DataLoader worker (pid 1) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory.", "", "shared-memory"),
    ("RuntimeError: CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", "", "gpu-error"),
    ("RuntimeError: FlashInfer requires nvcc: Could not find nvcc and default cuda_home='/usr/local/cuda' doesn't exist", "", "compiler"),
    ("RuntimeError: Ninja build failed. Ninja output: FAILED: cutlass_fused_moe", "", "compiler"),
    ("RuntimeError: Kernel requires a runner but got None. NVCC compilation failed.", "", "compiler"),
    ("requests.exceptions.SSLError: HTTPSConnectionPool(host='openaipublic.blob.core.windows.net', port=443): Max retries exceeded with url: /encodings/o200k_base.tiktoken", "", "network"),
    ("openai_harmony.HarmonyError: error downloading or loading vocab file: failed to download or load vocab file", "", "vocabulary-download"),
    ("ValueError: --speculative-config: draft model vocab size (32000) does not match target (128256)", "", "speculative"),
    ("ValidationError: SpeculativeConfig: The target model and draft model must have the same vocabulary size.", "", "speculative"),
    ("AssertionError: EAGLE3 is only supported for some models. Got self.target_model_config.hf_text_config.model_type='phi3'", "", "speculative"),
    ("ValueError: max_loras (1) must be less than or equal to max_cpu_loras (0)", "", "lora"),
    ("ValueError: Call to add_lora method failed: Loading lora sql failed: No adapter found", "", "lora-missing"),
    ("TypeError: LlamaForCausalLM.__init__() got an unexpected keyword argument 'prefix'", "", "versions"),
    ("RuntimeError: The size of tensor a (1024) must match the size of tensor b (2048) at non-singleton dimension 0", "vllm/model_executor/parameter.py in load_qkv_weight", "tensors-differ"),
    ("ValueError: The checkpoint you are trying to load has model type `qwen9` but Transformers does not recognize this architecture.", "", "model-type"),
    ("ValueError: Tokenizer class Qwen9Tokenizer does not exist or is not currently imported.", "", "tokenizer"),
    ("ModuleNotFoundError: No module named 'vllm._C'", "", "package"),
    ("ImportError: Please install vllm[runai] for runai_streamer support.", "", "package"),
    ("Exception: Could not send runai_request to libstreamer due to: b'S3 access failed'", "", "object-store"),
    ("RuntimeError: torch.distributed: NCCL 2.27 ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error. Last error: Error while creating shared memory segment /dev/shm/nccl-x (size 9637888), error: No space left on device (28)", "", "shared-memory"),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/nope/key.pem'", "", "certificate"),
    ("RuntimeError: Invalid device_type cuda: torch was built without", "", "no-gpu"),
    ("TimeoutError: RPC call to sample_tokens timed out.", "", "ranks-late"),
    ("UnicodeDecodeError: 'utf-8' codec can't decode byte 0x80 in position 64: invalid start byte", "vllm/transformers_utils/config.py in get_config", "config-json"),
    ("ValueError: Unsupported quantization scheme: W2A16", "", "quantization"),
    ("TypeError: not a string", "transformers/tokenization_utils_base.py in from_pretrained", "tokenizer"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "frame", "kind"), RAISED, ids=[f"{one[2]}-{n}" for n, one in enumerate(RAISED)]
)
def test_an_exception_is_told_by_its_kind(line: str, frame: str, kind: str) -> None:
    exception, _, message = line.partition(": ")
    cause = tell(Failure("", exception.rpartition(".")[2], message, frames=(frame,) if frame else ()))
    assert cause.kind == kind
    assert "{" not in cause.text.replace("{'", "")
    assert cause.next_command


def test_memory_that_is_short_names_the_way_that_helps() -> None:
    """Raising gpu_memory_utilization gives the cache room; lowering it leaves room beside vLLM."""
    none = tell(
        Failure(
            "",
            "ValueError",
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
        )
    )
    full = tell(Failure("", "OutOfMemoryError", "CUDA out of memory."))
    assert "raise engine.gpu_memory_utilization" in none.next_command
    assert "lower engine.gpu_memory_utilization" in full.next_command


def test_an_exception_that_no_kind_knows_is_told_in_its_own_words() -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "vllm/new.py", line 4, in g',
        "vllm.new.QuantumError: the cat is both",
    ]
    failure = first_failure(lines)
    assert failure is not None
    assert tell(failure).text == "vLLM ended: QuantumError: the cat is both"


def test_what_an_unknown_one_was_raised_from_is_told_with_it() -> None:
    lines = [
        "Traceback (most recent call last):", '  File "a.py", line 4, in g', "OddError: odd", "",
        "The above exception was the direct cause of the following exception:", "",
        "Traceback (most recent call last):", '  File "a.py", line 5, in g', "EvenError: even",
    ]  # fmt: skip
    failure = first_failure(lines)
    assert failure is not None
    assert tell(failure).text == "vLLM ended: EvenError: even (from OddError: odd)"


def test_a_process_that_was_killed_is_told_with_its_signal() -> None:
    cause = tell(Failure("VllmWorker-1", "", "Worker proc VllmWorker-1 died unexpectedly", signal=9))
    assert "VllmWorker-1 was ended by SIGKILL" in cause.text
    assert "resources.memory" in cause.next_command


def test_a_rank_that_failed_alone_is_named() -> None:
    cause = tell(Failure("Worker_TP3", "RuntimeError", "CUDA error: uncorrectable ECC error", alone=True))
    assert cause.text == "the GPU is broken or not ready (in rank Worker_TP3 alone)"


def test_one_that_had_come_up_is_said_to_have() -> None:
    cause = tell(Failure("EngineCore", "OutOfMemoryError", "CUDA out of memory.", served=True))
    assert cause.text == "after it had come up, the GPU has too little memory for the weights and flags"


def test_every_kind_is_met_by_a_test() -> None:
    met = {kind for *_, kind in RAISED} | {
        "unknown-flag", "flag-value", "flag-refused", "command-line", "parser-needed", "draft-model", "max-model-len",
        "batched-tokens", "heads", "quantization-config", "model-type", "load-format", "port-variable", "config-json",
        "config-missing", "config-field", "shard-missing", "weights-missing", "tensors-missing",
    }  # fmt: skip
    said = {family.name for family in (*FAMILIES, *REFUSED)}
    assert said - met == {"path", "native-crash", "killed", "other-processor"}


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (
            "HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/data/x'.",
            "path",
        ),
        ("Fatal Python error: Segmentation fault", "native-crash"),
        ("Killed", "killed"),
        ("exec /usr/bin/python3: exec format error", "other-processor"),
        ("ValidationError: ModelConfig: something new", "config-refused"),
        ("usage: the following arguments are required: model_tag", "command-line"),
    ],
)
def test_the_rest_of_the_kinds(line: str, kind: str) -> None:
    exception, _, message = line.partition(": ")
    failure = (
        Failure("", exception, message)
        if exception.endswith("Error") or exception == "usage"
        else Failure("", "", line)
    )
    assert tell(failure).kind == kind
