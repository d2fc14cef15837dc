"""vLLM's side of sampling.py, run by the interpreter of its own environment: a line asks, a line answers."""

WORKER = """
import json, sys, time
from vllm import LLM, SamplingParams
engine = LLM(
    sys.argv[1], dtype="float32", enforce_eager=True, skip_tokenizer_init=True, disable_log_stats=True, block_size=32,
    kv_cache_memory_bytes=1 << 30, logprobs_mode="processed_logprobs", max_num_seqs=256, max_model_len=1024,
    enable_chunked_prefill=False,  # on a CPU it fails with seeds: a generator cannot be set back
)
asked = json.loads(sys.stdin.readline())
prompts = [{"prompt_token_ids": ids} for ids, _, _ in asked]
settings = [
    SamplingParams(seed=key, max_tokens=n, logprobs=0, detokenize=False, ignore_eos=True) for _, n, key in asked
]
engine.generate(prompts[:2], settings[:2], use_tqdm=False)
print("answer ready", flush=True)
for line in sys.stdin:
    cpu, wall = time.process_time(), time.perf_counter()
    made = engine.generate(prompts, settings, use_tqdm=False)
    seconds = time.process_time() - cpu, time.perf_counter() - wall
    assert [len(one.outputs[0].token_ids) for one in made] == [n for _, n, _ in asked]
    engine.reset_prefix_cache()
    print("answer", json.dumps(seconds), flush=True)
"""
