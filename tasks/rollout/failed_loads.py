"""What fails when vLLM loads weights, takes the GPU, or talks to others: by the words of vLLM, torch, CUDA, NCCL and the hub's client.

vLLM's from the wheel 0.32.0 (model_executor/, v1/); CUDA's from its error strings (cudaGetErrorString, CUDA 12 and 13). Pure data.
"""

from __future__ import annotations

from tasks.rollout.engine_family import FLAG, LARGER, STAGE_AGAIN, Family

MEMORY: tuple[Family, ...] = (
    Family(
        "gpu-taken", r"Free memory on device .*?\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\).*? is less than desired",
        "another process holds the GPU's memory: {free} of {total} GiB are free",
        "kubectl get pods -A -o wide on that node; else lower engine.gpu_memory_utilization", passes=True,
    ),
    Family(
        "sampler-memory", r"out of memory occurred when warming up (sampler|pooler)",
        "the GPU has too little memory left for so many requests at a time",
        "lower engine.max_num_seqs or engine.gpu_memory_utilization in the model's file",
    ),
    Family(
        "no-cache-memory", r"No available memory for the cache blocks|Cannot auto-fit max_model_len",
        "the GPU has too little memory: weights and activations leave nothing for the KV cache",
        "raise engine.gpu_memory_utilization in the model's file; or " + LARGER,
    ),
    Family(
        "gpu-memory", r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|not enough GPU memory",
        "the GPU has too little memory for the weights and flags",
        "lower engine.gpu_memory_utilization, max_model_len or max_num_seqs; or " + LARGER,
    ),
    Family(
        "kv-cache", r"max seq len \((?P<length>\d+)\).*larger than the available KV cache memory \((?P<free>[\d.]+) ?GiB\)"
        r"(?:.*estimated maximum model length is (?P<most>\d+))?",
        "the KV cache left beside the weights, {free} GiB, is too small for max_model_len {length}",
        "lower engine.max_model_len (vLLM's estimate of the longest: {most}), raise engine.gpu_memory_utilization, or take a larger GPU",
    ),
    Family(
        "kv-cache", r"larger than the available KV cache memory|max seq len .* is larger than the maximum",
        "the KV cache left beside the weights is too small for max_model_len", "lower engine.max_model_len, or take a larger GPU",
    ),
    Family(
        "mamba-cache", r"max_num_seqs \((?P<seqs>\d+)\) exceeds available Mamba cache blocks \((?P<blocks>\d+)\)",
        "the GPU holds the state of {blocks} sequences, and max_num_seqs is {seqs}", "lower engine.max_num_seqs to {blocks} at most",
    ),
    Family(
        "host-memory", r"^MemoryError|Cannot allocate memory|bad_alloc|DefaultCPUAllocator: can't allocate",
        "the host's memory ran out while the model was loaded", "raise resources.memory in the model's file",
    ),
)  # fmt: skip

WEIGHTS: tuple[Family, ...] = (
    Family(
        "shard-missing", r"referenced in index but missing: \{?(?P<files>.{1,160}?)\}?$",
        "the index names weight files that are not there: {files}", STAGE_AGAIN + "; else the repo lacks them", passes=True,
    ),
    Family(
        "weights-missing", r"Cannot find any (safetensors )?model weights|no file named .{0,80} found in directory|Could not find checkpoint files",
        "the model's folder on the cache volume has no weights that vLLM reads", STAGE_AGAIN, passes=True,
    ),
    Family(
        "weights-cut", r"SafetensorError|HeaderTooLarge|header too (large|small)|incomplete metadata|InvalidHeader|PytorchStreamReader failed"
        r"|UnpicklingError|unexpected EOF",
        "vLLM cannot read the weights: a file is cut off or is no weight file", STAGE_AGAIN + "; else the repo's own file is broken", passes=True,
    ),
    Family(
        "tensors-missing", r"Following weights were not initialized from checkpoint: (?P<names>.{1,160})|Missing keys (?P<also>.{1,120}) in loaded state",
        "the checkpoint does not fit its config: tensors are missing", "the repo's config.json and weights are not of one model: another revision (source.revision)",
    ),
    Family(
        "tensors-differ", r"(?P<why>Attempted to load (?:nested )?weight.{0,160}|start \(\d+\) \+ length \(\d+\) exceeds dimension size.{0,40}|size mismatch.{0,120}|The size of tensor a .{0,120}|shape mismatch.{0,120}"
        r"|There is no module or parameter named .{0,120}|Tensor .{0,60} (?:has|with) (?:wrong )?shape.{0,80})",
        "the checkpoint does not fit its config: {why}", "the repo's config.json and weights are not of one model: another revision (source.revision), "
        f"or --hf-overrides in {FLAG}",
    ),
    Family(
        "tensors-differ", r"^(?:KeyError|AssertionError|AttributeError|RuntimeError|IndexError|ValueError)(?:: (?P<why>.{0,160}))?",
        "the checkpoint does not fit the model that vLLM makes of its config",
        "the repo's config.json and weights are not of one model: another revision (source.revision), or another vLLM",
        under=r" in (load_weights|weight_loader|default_weight_loader|_load_module|load_\w*_weight|load_merged_\w+|load_qkv\w*)$",
    ),
)  # fmt: skip

FILES: tuple[Family, ...] = (
    Family(
        "shared-memory", r"No space left on device.*/dev/shm|write to file </torch_.*No space left|/dev/shm.*No space left|posix_fallocate|unable to (open|mmap|allocate) shared memory|Bus error",
        "shared memory (/dev/shm) is too small for the ranks", "raise resources.memory in the model's file: a replica of several GPUs has half of it as /dev/shm, 16 GiB at most",
    ),
    Family(
        "disk-full", r"No space left on device|Errno 28", "a disk that vLLM writes to is full: the node's own, or the cache volume",
        "kubectl describe nodes: DiskPressure, ephemeral-storage; cluster.gpu.volume_gib in the environment's file",
    ),
    Family(
        "read-only", r"Read-only file system: '?(?P<path>[^' ]*)", "vLLM writes where it may not: {path}",
        "point that cache elsewhere (/tmp, or a volume): HF_HOME, VLLM_CACHE_ROOT, TORCHINDUCTOR_CACHE_DIR",
    ),
    Family(
        "permission", r"PermissionError|Permission denied: '?(?P<path>[^' ]*)|Permission denied", "vLLM may not read or write a file it needs",
        "the pod's user must own it: securityContext in k8s/serving/deployment.yaml",
    ),
    Family("io-error", r"Input/output error|Stale file handle|Errno 5\b", "the cache volume cannot be read", "kubectl get pv; aws ec2 describe-volume-status", passes=True),
    Family("descriptors", r"Too many open files", "vLLM ran out of file descriptors", "raise the container runtime's limit of open files on the node"),
    Family(
        "certificate", r"No such file or directory: '?(?P<path>[^' ]*\.(?:pem|key|crt|cert))",
        "a certificate or key it was given is not a file in the pod: {path}", f"leave the --ssl flags out of {FLAG}: the gateway speaks TLS",
    ),
    Family(
        "model-folder", r"(No such file or directory|not found|is not a local folder|HFValidationError).*?(?P<path>/models/[^\s'\"]*)",
        "the model's folder or a file of it is not on the cache volume: {path}", STAGE_AGAIN, passes=True,
    ),
    Family(
        "file-missing", r"does not appear to have (?:a file|files) named (?P<name>.{1,80}?)[.,]? ?(?:Checkout|$)",
        "the model lacks a file that vLLM needs: {name}", STAGE_AGAIN + "; else the repo lacks it", passes=True,
    ),
    Family(
        "path", r"HFValidationError.*'(?P<path>/[^']+)'", "a path it was given is not a folder in the pod: {path}",
        f"correct it in {FLAG}; the model's files are under /models",
    ),
)  # fmt: skip

HUB: tuple[Family, ...] = (
    Family(
        "gated", r"GatedRepoError|401 Client Error|403 Client Error|Access to model .* is restricted|Unauthorized|awaiting a review",
        "vLLM tried to reach the hub for gated or missing weights; serving pods run offline on staged weights", STAGE_AGAIN,
    ),
    Family(
        "hub", r"outgoing traffic has been disabled|offline mode is enabled|OfflineModeIsEnabled|LocalEntryNotFoundError|couldn't connect to '?https?://hugg"
        r"|host='huggingface\.co|huggingface\.co/api/|RepositoryNotFoundError|is not a local folder and is not a valid model identifier",
        "vLLM tried to reach the hub; serving pods run offline, and what it looks for is not staged",
        f"a name of the hub in {FLAG} (tokenizer, draft model, adapter) must be a path under /models; else " + STAGE_AGAIN,
    ),
    Family(
        "object-store", r"(?P<why>NoCredentialsError.{0,80}|AccessDenied.{0,120}|Unable to locate credentials|InvalidAccessKeyId|SignatureDoesNotMatch|libstreamer due to.{0,80}"
        r"|ExpiredToken|NoSuchBucket.{0,80}|An error occurred \(\w+\) when calling the \w+ operation.{0,120})",
        "the weights cannot be read from S3: {why}", "the pod's role must read the bucket: aws eks list-pod-identity-associations --cluster-name CLUSTER",
    ),
    Family(
        "network", r"Temporary failure in name resolution|Name or service not known|Max retries exceeded|ConnectTimeout|ConnectionError|Connection refused",
        "vLLM cannot reach a host it needs", "serving pods have no way out (default-deny): kubectl get networkpolicies", passes=True,
    ),
)  # fmt: skip

GPUS: tuple[Family, ...] = (
    Family(
        "driver", r"driver version is insufficient|driver on your system is too old|unsupported toolchain|forward compatibility was attempted|unsupported display driver|Error 80[03]"
        r"|CUDA driver.*(too old|insufficient)|needs? a newer.*driver",
        "the node's NVIDIA driver is older than the image's CUDA needs", "an older engine.image, or a newer AMI for the GPU node group",
    ),
    Family(
        "no-gpu", r"Failed to infer device type|no NVIDIA driver|No CUDA GPUs are available|no CUDA-capable device|libcuda\.so|NVML.*(not found|Not Found)"
        r"|[Ff]ound no NVIDIA|CUDA unknown error|Invalid device_type cuda|Driver Not Loaded",
        "vLLM sees no GPU in its container", "kubectl get nodes -o custom-columns=NAME:.metadata.name,GPU:.status.allocatable.nvidia\\.com/gpu; "
        "resources.gpu in the model's file",
    ),
    Family(
        "no-kernel", r"no kernel image is available|not compatible with the current PyTorch|device kernel image is invalid|ptxas fatal|sm_\d+ is not compatible|not compiled for",
        "the image has no kernels for this type of GPU", "another engine.image, or another instance type (cluster.gpu.instance_type)",
    ),
    Family(
        "gpu-broken", r"uncorrectable ECC|Xid|GPU has fallen off the bus|system not yet initialized|unspecified launch failure|hardware stack error|GPU is lost",
        "the GPU is broken or not ready", "kubectl drain that node and let the node group replace it", passes=True,
    ),
    Family(
        "gpu-error", r"CUDA error: (?P<why>.{1,80}?)(?: CUDA kernel| Search for|$)|CUBLAS_STATUS_\w+|cuDNN error",
        "a CUDA kernel failed", "deploy again; where it repeats: --enforce-eager in engine.extra_args, another attention backend, or another engine.image",
        passes=True,
    ),
    Family(
        "nccl", r"NCCL error|NCCL WARN|nccl(System|Internal|UnhandledCuda|Remote|Invalid)\w*|DistBackendError", "the GPUs cannot talk to each other (NCCL)",
        "NCCL_DEBUG=INFO shows why; /dev/shm of the pod, and --disable-custom-all-reduce in engine.extra_args",
    ),
    Family(
        "engine-late", r"Timed out waiting for (?:new )?engine core processes.*?Waited (?P<seconds>[\d.]+)s",
        "the engine core did not start within {seconds} s: the weights are read too slowly, or it hangs",
        "the engine's log shows the phase it is in; VLLM_ENGINE_READY_TIMEOUT_S is vLLM's limit", passes=True,
    ),
    Family(
        "ranks-late", r"DistNetworkError|DistStoreError|client socket has timed out|TCPStore|Barrier timed out|[Tt]imed out (waiting|after)|RPC call to \w+ timed out",
        "the ranks did not find each other in time", "kubectl get pods -o wide; deploy again", passes=True,
    ),
    Family("port-taken", r"[Aa]ddress already in use", "the port it is to listen on is taken", f"two programs in the pod use one port: --port in {FLAG}"),
    Family(
        "compiler", r"Failed to find C compiler|[Nn]inja build failed|NVCC compilation failed|find nvcc|ninja.*(not found|No such file)|gcc.*(failed|not found)|nvcc.*(not found|No such)|CalledProcessError",
        "the image cannot compile a kernel that this model needs", f"add --enforce-eager to {FLAG}, or take an image with a compiler",
    ),
    Family(
        "compile", r"InductorError|BackendCompilerFailed|torch\._dynamo|TorchRuntimeError|triton.*(CompilationError|OutOfResources)|OutOfResources",
        "torch.compile failed for this model", f"add --enforce-eager to {FLAG}: slower, and it shows whether compiling is at fault",
    ),
    Family(
        "package", r"No module named '?(?P<name>[\w.]+)|(?:Please install|pip install) (?P<other>[\w.\[\]>=-]+)|PackageNotFoundError",
        "the image lacks a Python package that the model or a flag needs", "an engine.image that has it, or leave out what needs it",
    ),
    Family(
        "versions", r"cannot import name '(?P<name>\w+)' from '?(?P<other>[\w.]+)|unexpected keyword argument '(?P<key>\w+)'",
        "packages in the image are not of versions that go together: {name}", "the official engine.image as it is; or another version of it",
    ),
    Family(
        "fork", r"Cannot re-initialize CUDA in forked subprocess", "CUDA was used before vLLM started its processes",
        "set VLLM_WORKER_MULTIPROC_METHOD: spawn in engine.env",
    ),
    Family(
        "library", r"(?P<name>lib[\w.+-]+\.so[\w.]*): cannot open shared object file|undefined symbol",
        "the image lacks a library, or its libraries are not of one version", "another engine.image: the official one, of one version",
    ),
    Family(
        "native-crash", r"^(?P<words>Fatal Python error: .{1,80}|!+ Segfault encountered|.{0,20}Segmentation fault|.{0,20}Illegal instruction|terminate called .{1,160}"
        r"|free\(\): .{1,60}|double free.{0,60}|.{0,20}Aborted)", "vLLM's native code crashed: {words}",
        "another engine.image or instance type; --enforce-eager in engine.extra_args shows whether compiled kernels are at fault", passes=True,
    ),
    Family("killed", r"^.{0,20}Killed$", "a process of vLLM was killed, as a rule because memory ran out", "raise resources.memory in the model's file"),
    Family("other-processor", r"exec format error", "the image is for another processor than the node's", "an image for the node's architecture (amd64 or arm64)"),
)  # fmt: skip
