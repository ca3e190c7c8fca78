"""The settings, models and combinations that vLLM refuses, in the words of its source. Pure data.

Read from the wheel vllm 0.32.0 (config/, engine/arg_utils.py, entrypoints/, transformers_utils/, tokenizers/, lora/,
platforms/cuda.py, model_executor/models/registry.py) and from the transformers it runs with; older words are marked.
More particular kinds come first: the first that matches is told.
"""

from __future__ import annotations

from tasks.rollout.engine_family import FLAG, LARGER, STAGE_AGAIN, Family

_HELP = "check engine in the model's file against `vllm serve --help=all` of that image"

COMMAND_LINE: tuple[Family, ...] = (
    Family(
        "unknown-flag", r"^usage: unrecognized arguments: (?P<flags>.{1,120})",
        "vLLM does not know a flag it was given: {flags}", _HELP,
    ),
    Family(
        "flag-value",
        r"^usage: argument (?P<flag>\S+?)(?:/\S+)?: invalid choice: (?P<value>'[^']{0,80}')",
        "vLLM does not know a flag's value it was given: {flag} {value}", _HELP + "; its message lists the values there are",
    ),
    Family(
        "flag-refused", r"^usage: argument (?P<flag>\S+?)(?:/\S+)?: (?P<why>.{1,200})",
        "vLLM refuses the value of {flag}: {why}", f"correct {{flag}} in {FLAG}",
    ),
    Family("command-line", r"^usage: (?P<why>.{1,200})", "vLLM refuses its command line: {why}", _HELP),
    Family(
        "parser-needed", r"--enable-auto-tool-choice requires --tool-call-parser",
        "--enable-auto-tool-choice needs --tool-call-parser beside it",
        f"add --tool-call-parser=NAME to {FLAG}; `vllm serve --help=all` lists the names",
    ),
    Family(
        "parser-name", r"invalid (?P<kind>tool call|reasoning) parser: (?P<name>[^ '\"]+)",
        "vLLM has no {kind} parser called {name}", f"take one of the names in its message, in {FLAG}",
    ),
    Family(
        "parser-name", r"(?P<kind>[Rr]easoning|[Tt]ool) parser '?(?P<name>[\w.-]+)'? not found",
        "vLLM has no {kind} parser called {name}", f"`vllm serve --help=all` lists the names; correct {FLAG}",
    ),
    Family(
        "chat-template", r"supplied chat template|Unable to find a user specified template|TemplateSyntaxError|chat.template.*(No such file|doesn't exist|does not exist)",
        "the chat template it was given is not a file that the pod has",
        f"name a file of the repo (under /models) or write the template itself, in --chat-template of {FLAG}",
    ),
)  # fmt: skip

DRAFT: tuple[Family, ...] = (
    Family(
        "speculative", r"(?P<why>EAGLE3 is only supported.{0,160})", "vLLM refuses the speculative decoding it was asked for: {why}",
        f"another method in --speculative-config of {FLAG}, as ngram",
    ),
    Family(
        "draft-model",
        r"SpeculativeConfig\S*: (?:Invalid repository ID or local directory specified: |Can't load .{0,60}|Repo id must .{0,60})(?P<path>'[^']+')",
        "the draft model of --speculative-config cannot be read: {path}",
        f"the draft's files must be among those of the model's repo, under /models; correct --speculative-config in {FLAG}",
    ),
    Family(
        "speculative", r"^(?:\w+: )?(?P<why>.*(?:SpeculativeConfig|[Ss]peculative|num_speculative_tokens).*)",
        "vLLM refuses the speculative decoding it was asked for: {why}", f"correct --speculative-config in {FLAG}",
    ),
)  # fmt: skip

LENGTHS: tuple[Family, ...] = (
    Family(
        "max-model-len",
        r"User-specified max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len \((?P<key>\w+)=(?P<most>\d+)",
        "max_model_len {asked} is more than the model's own context length, {most} ({key})",
        "lower engine.max_model_len to {most} at most, or extend the context by --hf-overrides (rope_parameters)",
    ),
    Family(
        "batched-tokens", r"max_num_batched_tokens \((?P<tokens>\d+)\) is smaller than max_model_len \((?P<length>\d+)\)",
        "max_num_batched_tokens ({tokens}) is smaller than max_model_len ({length})",
        f"raise --max-num-batched-tokens in {FLAG} to {{length}}, lower engine.max_model_len, or leave chunked prefill on",
    ),
    Family(
        "batched-seqs", r"max_num_batched_tokens \((?P<tokens>\d+)\) must be greater than or equal to max_num_seqs \((?P<seqs>\d+)\)",
        "max_num_batched_tokens ({tokens}) is smaller than max_num_seqs ({seqs})",
        f"raise --max-num-batched-tokens in {FLAG}, or lower engine.max_num_seqs",
    ),
)  # fmt: skip

PARALLEL: tuple[Family, ...] = (
    Family(
        "heads", r"Total number of attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size \((?P<ranks>\d+)\)",
        "the model's {heads} attention heads cannot be shared out over {ranks} GPUs",
        "set engine.tensor_parallel_size to a divisor of {heads}",
    ),
    Family(
        "more-ranks", r"World size \((?P<world>\d+)\) is larger than the number of available GPUs \((?P<gpus>\d+)\)",
        "it is to run on {world} GPUs and its container has {gpus}",
        "set resources.gpu in the model's file to what engine.tensor_parallel_size needs",
    ),
    Family(
        "divisible", r"(?P<why>[^:]{0,120}(?:not divisible|must (?:be )?divisible|must evenly divide|does not divide)[^:]{0,120})",
        "a size cannot be shared out evenly: {why}",
        "choose another engine.tensor_parallel_size: it must divide heads, layers' sizes and quantisation groups",
    ),
    Family(
        "divisible", r"^AssertionError", "the model's heads cannot be shared out over so many GPUs",
        "choose another engine.tensor_parallel_size: it must divide attention heads and key-value heads",
        under=r"distributed/utils\.py in (divide|ensure_divisibility)",
    ),
    Family(
        "more-ranks", r"(?P<why>number of required GPUs exceeds.{0,80}|Ray does not allocate any GPUs.{0,80})",
        "it is to run on more GPUs than its container has: {why}",
        "set resources.gpu in the model's file to what engine.tensor_parallel_size needs; leave --distributed-executor-backend=ray out",
    ),
    Family(
        "pipeline", r"Pipeline parallelism is not supported", "this model cannot be split over pipeline stages",
        f"take --pipeline-parallel-size out of {FLAG}; engine.tensor_parallel_size may do",
    ),
)  # fmt: skip

KINDS: tuple[Family, ...] = (
    Family(
        "quantization-config", r"Cannot find the config file for (?P<method>\w+)",
        "the checkpoint is not quantised by {method}: it has no configuration of it",
        "take engine.quantization out of the model's file, or deploy a checkpoint quantised by {method}",
    ),
    Family(
        "quantization-differs", r"Quantization method specified in the model config \((?P<has>[^)]+)\) does not match .*\((?P<asked>[^)]+)\)",
        "the checkpoint is quantised by {has}, and {asked} was asked for", "take engine.quantization out of the model's file",
    ),
    Family(
        "quantization-gpu", r"quantization method (?P<method>\S+) is not supported for the current GPU\. (?P<why>.{0,120})",
        "this GPU cannot run {method}: {why}", "take a newer GPU, or a checkpoint quantised another way",
    ),
    Family(
        "quantization-dtype", r"(?P<dtype>\S+) is not supported for quantization method (?P<method>[\w-]+)",
        "{method} does not run in {dtype}", "set engine.dtype to one of those its message lists",
    ),
    Family(
        "quantization-gpu", r"Quantization scheme is not supported for the current GPU\. (?P<why>.{0,120})",
        "this GPU cannot run the checkpoint's quantisation: {why}", "take a newer GPU, or a checkpoint quantised another way",
    ),
    Family(
        "activation-order", r"activation ordering.{0,60}is no longer supported|desc_act=True\) is no longer",
        "this vLLM has no kernels for a checkpoint whose groups are in the order of activations (desc_act, actorder)",
        "deploy a checkpoint quantised with desc_act false or with static activation ordering (source.repo)",
    ),
    Family(
        "quantization-scheme", r"(?P<why>No compressed-tensors compatible scheme.{0,160}|Found different quantization schemes.{0,160}|No quark compatible scheme.{0,160})",
        "vLLM cannot run the checkpoint's quantisation: {why}", "another version of vLLM (engine.image), or a checkpoint quantised another way",
    ),
    Family(
        "quantization-unknown", r"Unknown quantization method: (?P<method>[\w.-]+)",
        "this vLLM has no quantisation method {method}",
        "take engine.quantization out of the model's file; where the repo itself is quantised so, another repo or another engine.image",
    ),
    Family(
        "kv-cache-dtype", r"(?P<why>(?:FP8|NVFP4|fp8|nvfp4|Quantized) KV cache is not supported.{0,160}|kv_cache_dtype.{0,60}not supported.{0,100})",
        "this GPU cannot keep the KV cache in that type: {why}",
        f"set engine.kv_cache_dtype: auto in the model's file; where the checkpoint asks for it, --kv-cache-dtype=bfloat16 in {FLAG}, or a newer GPU",
    ),
    Family(
        "quantization", r"(?i)(?P<why>(invalid|unsupported) quantization.{0,160}|ModelConfig\.quantization.{0,160}|quantization method .{0,160})",
        "vLLM refuses the quantisation: {why}", "correct engine.quantization in the model's file, or leave it out",
    ),
    Family(
        "bfloat16", r"Bfloat16 is only supported on GPUs with compute capability of at least 8\.0",
        "this GPU has no bfloat16", "set engine.dtype: float16 in the model's file, or take a newer GPU",
    ),
    Family(
        "dtype", r"(?P<why>Unknown dtype.{0,80}|does not support float16.{0,120}|ModelConfig\.dtype.{0,120})",
        "vLLM refuses the dtype: {why}", "set engine.dtype in the model's file to another type",
    ),
    Family(
        "architecture", r"Model architectures? (?P<names>\[[^\]]*\]|\S+) (are not supported|was supported|is not supported)",
        "this version of vLLM does not know the model's architecture: {names}",
        "another version of vLLM (engine.image in the model's file); slipway preflight says which know it",
    ),
    Family(
        "architecture", r"Cannot find model module\. '?(?P<names>\w+)'?|(?P<also>Transformers implementation of .{0,80} is not compatible)",
        "vLLM has no implementation of the model's architecture", "another version of vLLM (engine.image in the model's file)",
    ),
    Family(
        "model-type", r"has model type [`'](?P<type>[^`']+)[`'] but Transformers does not recognize",
        "the transformers in this image does not know model_type {type}", "a newer vLLM (engine.image in the model's file)",
    ),
    Family(
        "no-model-type", r"Should have a `model_type` key",
        "the model's config.json names no model_type", "another revision (source.revision) or repo; a base that has one is to be copied from",
    ),
    Family(
        "transformers-backend", r"(?P<why>does not dispatch through the Transformers attention interface.{0,100}|does not support the Transformers.{0,100})",
        "vLLM has no implementation of the model, and that of transformers does not run in it: {why}",
        "another version of vLLM (engine.image in the model's file); slipway preflight says which know it",
    ),
    Family(
        "no-architecture", r"No model architectures are specified|architectures. is (empty|None)",
        "the model's config.json names no architecture",
        'add it: --hf-overrides={{"architectures": ["NAME"]}} in ' + FLAG,
    ),
    Family(
        "code-elsewhere",
        r"outgoing traffic has been disabled|offline mode is enabled|LocalEntryNotFound|Cannot reach|couldn't connect|not appear to have a file",
        "the model's code (auto_map in config.json) is in another repo, which is not staged; serving pods run offline",
        "deploying again cannot help: deploy a repo that holds its own code, or a version of vLLM that knows the model",
        under=r"dynamic_module_utils\.py",
    ),
    Family(
        "remote-code", r"trust.remote.code|requires you to execute|contains custom code",
        "the model needs code of its own repo (auto_map), which is not trusted",
        "read that code, then set engine.trust_remote_code: true in the model's file",
    ),
    Family(
        "runner", r"does not support `?--runner (?P<runner>\w+)|does not support pooling|does not support any pooling tasks",
        "the model cannot do what it was asked to: generate text, or embed", f"take --runner, --task and --convert out of {FLAG}",
    ),
    Family(
        "lora-rank", r"LoRA rank (?P<rank>\d+) is greater than max_lora_rank (?P<most>\d+)",
        "the adapter's rank is {rank} and {most} is allowed", f"set --max-lora-rank={{rank}} in {FLAG}",
    ),
    Family(
        "lora-missing", r"LoRAAdapterNotFoundError|adapter_config\.json|No adapter found|doesn't contain tensors",
        "a LoRA adapter is not where it was said to be", f"correct the path in --lora-modules of {FLAG}",
    ),
    Family(
        "lora", r"(?P<why>[^:]{0,80}(?:LoRA|max_cpu_loras|target modules in|[Aa]dapter)\b.{0,160})",
        "vLLM refuses the LoRA adapter or its settings: {why}", f"correct --lora-modules and --max-lora-rank in {FLAG}",
    ),
    Family(
        "load-format", r"Load format [`'](?P<format>[^`']+)[`'] is not supported|Unknown load_format: (?P<other>\S+)",
        "vLLM has no such way to load weights: --load-format {format}", f"correct --load-format in {FLAG}",
    ),
    Family(
        "needs-kernels", r"requires (?P<name>DeepGEMM|FlashMLA|FlashInfer|DeepEP|CUTLASS|FlashAttention-?\d?)\b.{0,80}(?:support|not|install)|(?P<other>\w+) is not (?:installed|available in)",
        "the image lacks kernels that this model needs: {name}", "the official engine.image, or a GPU that they are for (Hopper, Blackwell)",
    ),
    Family(
        "connector", r"(?P<why>Unsupported (?:KV )?connector.{0,100}|KV connector .{0,160})", "vLLM refuses --kv-transfer-config: {why}",
        f"correct or leave out --kv-transfer-config in {FLAG}",
    ),
    Family(
        "attention", r"(?P<why>No valid attention backend.{0,160}|Selected backend .{0,160}|Invalid attention backend.{0,80}|Unknown attention backend.{0,80})",
        "no attention backend fits model, GPU and flags: {why}",
        f"take --attention-backend and --kv-cache-dtype out of {FLAG}, or another GPU",
    ),
    Family(
        "port-variable", r"VLLM_PORT '(?P<value>[^']+)'",
        "the environment variable VLLM_PORT is {value}: a Service called `vllm` in the namespace makes Kubernetes set it",
        "kubectl get services -A | grep ' vllm '; rename that Service, or set enableServiceLinks: false",
    ),
    Family(
        "variable", r"Invalid value '(?P<value>[^']*)' (?:for|in) (?P<name>[A-Z_]+)",
        "the environment variable {name} has a value vLLM does not know: {value}", "correct it: its message lists the values",
    ),
)  # fmt: skip

CONFIG: tuple[Family, ...] = (
    Family(
        "config-json", r"not a valid JSON file", "a configuration file of the model is not valid JSON, as one that was cut off",
        "slipway deploy again verifies what is staged; else the repo's own file is broken", passes=True,
    ),
    Family(
        "config-json", r"JSONDecodeError|UnicodeDecodeError", "a configuration file of the model is not valid JSON, as one that was cut off",
        "slipway deploy again verifies what is staged; else the repo's own file is broken",
        under=r"configuration_utils\.py|transformers_utils/|weight_utils\.py", passes=True,
    ),
    Family(
        "config-lacks", r"'(?P<config>\w+Config)' object has no attribute '(?P<name>\w+)'",
        "the model's config.json lacks what vLLM needs: {name}", f"--hf-overrides in {FLAG}, or a revision that has it (source.revision)",
    ),
    Family(
        "config-missing",
        r"Invalid repository ID or local directory specified: '(?P<path>[^']+)'|(?P<also>Could not detect config format|Failed to load mistral|Can't load the config)",
        "the model's folder on the cache volume has no config.json (nor params.json)",
        "slipway deploy again: staging and warming verify and repair what is there", passes=True,
    ),
    Family(
        "config-field", r"Class validation error for validator '?(?P<field>\w+)'?:?(?P<why>.{0,160})",
        "fields of the model's configuration do not fit each other: {field}:{why}",
        f"correct --hf-overrides in {FLAG}, or the repo's config.json",
    ),
    Family(
        "config-field", r"(?P<field>rope_parameters|rope_scaling)\W(?P<why>.{0,160})",
        "the model's rope scaling is not as transformers wants it: {field} {why}", f"--hf-overrides in {FLAG} that sets rope_parameters whole",
    ),
    Family(
        "config-field", r"Validation error for field '?(?P<field>[\w.]+)'?:?(?P<why>.{0,160})",
        "a field of the model's configuration has a value of the wrong type: {field}:{why}",
        f"correct --hf-overrides in {FLAG}, or the repo's config.json",
    ),
    Family(
        "vocabulary-download", r"(?i)(?:downloading|download) (?:or load)?.{0,20}vocab|openaipublic\.blob|tiktoken.*(?:Max retries|resolve)",
        "vLLM tried to download a vocabulary (tiktoken's o200k or gpt-oss's harmony); serving pods have no way out",
        "an engine.image that brings it, with TIKTOKEN_ENCODINGS_BASE set to its folder in engine.env",
    ),
    Family(
        "tokenizer-cut", r"(?:EOF while parsing|expected .{0,30}) .{0,40}at line \d+|at line \d+ column \d+$",
        "tokenizer.json is cut off or is not what the tokenizers library reads", STAGE_AGAIN + "; else the repo's own file is broken, or another engine.image",
        under=r"tokenization_\w+\.py|vllm/tokenizers/|vllm/transformers_utils/tokenizer", passes=True,
    ),
    Family(
        "tokenizer",
        r"(?i)tokenizer|sentencepiece|tiktoken", "the model's tokenizer cannot be loaded: its files are missing or of another kind",
        f"the repo needs tokenizer.json or tokenizer.model; else name one by --tokenizer in {FLAG}",
    ),
    Family(
        "tokenizer", r".", "the model's tokenizer cannot be loaded",
        f"the repo needs tokenizer.json or tokenizer.model; else name one by --tokenizer in {FLAG}",
        under=r"tokenization_\w+\.py|vllm/tokenizers/|vllm/transformers_utils/tokenizer",
    ),
    Family(
        "processor", r"(?i)(image|video|feature|multi.?modal) ?processor|preprocessor_config|processor_config",
        "the model's image or audio processor cannot be loaded", "the repo needs preprocessor_config.json; "
        f"or serve text only: --limit-mm-per-prompt in {FLAG}",
    ),
)  # fmt: skip

# what vLLM refuses without a kind of its own here; after everything more particular
REFUSED: tuple[Family, ...] = (
    Family(
        "config-value", r"ValidationError: (?P<what>(?!ModelConfig: |VllmConfig: )\w+(?:\.[\w.\[\]-]+)?): (?P<why>.{1,240})",
        "vLLM refuses a setting: {what}: {why}", f"correct it in engine of the model's file ({FLAG})",
    ),
    Family(
        "config-refused", r"ValidationError: \w+: (?P<why>.{1,260})",
        "vLLM refuses the model with these settings: {why}", "correct engine in the model's file",
    ),
    Family(
        "flags-refused", r"^(?:Value|Type|Key|NotImplemented)Error: (?:Error: )?(?P<why>.{1,260})", "vLLM refuses its flags: {why}", f"correct {FLAG}",
        under=r"launchers/\w+\.py in (validate|run_multi|_validate)|arg_utils\.py in (create_\w+_config|_check|__post_init__)$|cli/serve\.py in validate",
    ),
)  # fmt: skip

__all__ = ["COMMAND_LINE", "CONFIG", "DRAFT", "KINDS", "LARGER", "LENGTHS", "PARALLEL", "REFUSED"]
