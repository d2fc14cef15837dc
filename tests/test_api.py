"""The public names. A change of this list is a change of the interface: say it in CHANGELOG.md."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = {
    "types": (
        "Message content_hash Test CallTest AssertTest AnyTest Problem Demonstration StopReason SampleRequest "
        "Completion Attempt Outcome Verdict Reward Rollout RolloutGroup"
    ),
    "errors": (
        "OpenKlearError UsageError RecipeError DataError ModelError RowRefused TemplateRefused StageChanged RunError "
        "RunLocked NoSpace Preempted NonFinite ProcessLost RankLost EngineError VerifierError"
    ),
    "objectives.policy": (
        "CATALOG OBJECTIVES PolicyLoss aspo ce_gppo cispo cispo_minimax cispo_trl cispo_verl dgpo dppo_tv "
        "entropy_gate gate_open gmpo gppo gspo ppo_clip reinforce sapo topr two_sided"
    ),
    "objectives.advantages": "Advantages grpo mean_only leave_one_out batch_std length_weighted ADVANTAGES",
    "objectives.aggregate": (
        "Counts SequencePlace Aggregation token_mean group_token_mean sequence_mean constant klear_released "
        "AGGREGATIONS AGGREGATION_NOTES token_weights aggregate"
    ),
    "objectives.supervised": "negative_log_likelihood",
    "objectives.correction": "Level Correction truncate mask CORRECTIONS importance_ratio",
    "integrations.trl": "GPPOConfig GPPOTrainer",
    "integrations.verl": "PolicyLossConfig policy_loss",
    "conformance": "FORMATS Comparison Framework Report installed render run",
    "verifiers.judge": "GRADER_VERSION AttemptBatch Judge Limits open_judge",
    "verifiers.domains": (
        "Verifier RunsPrograms Domain DOMAINS register domain_named domain_under grader_faults require_graders AnswerVerifier ProgramVerifier"
    ),
    "grading": "Explanation Grader Limits explain grade_rows",
    "evaluation.statistics": (
        "Effect Estimate SamplingError Table arm_mean avg_at_k correctness difference_interval g_pass_at_k g_pass_share "
        "holm majority_share mean_interval mg_pass_at_k mg_pass_share over_seeds paired_difference pass_at_k pass_share "
        "sampling_error sign_flip student_quantile student_tail two_way"
    ),
    "models.loading": "LoadedModel load_model save_model",
    "models.tiny": "make_tiny make_tokenizer",
    "models.chat": "EncodedDemonstration decode_completion encode_demonstration encode_prompt prompt_tail turn_end_id",
    "models.batching": "plan_microbatches plan_packs longest_first SHARED_TOKENS by_content pad_right",
    "models.logprobs": "sequence_logprobs",
    "rollout.open": "COMPLETIONS TRAINING VALIDATION open_sampler require",
    "rollout.local": "SLOTS LocalSampler",
    "rollout.protocol": "Progress OnCompletion Until Supports Sampler",
    "rollout.seeds": "rollout_key copies uniforms",
    "training.optimizer": "ADAM_BETAS Optimizer build_optimizer clip_gradients warmup_constant warmup_cosine",
    "recipe.load": "load_recipe",
    "run.pipeline": "plan run_pipeline",
    "data.store": "PreparedPaths prepared read_demonstrations read_problems write_demonstrations write_problems",
    "demo.arithmetic": "LIMIT WORDINGS WORDS Chain apply draw_chain word solution slipped_solution",
}


@pytest.fixture(scope="module")
def api():
    spec = importlib.util.spec_from_file_location("api", ROOT / "tools" / "api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_public_names(api):
    assert {module: " ".join(api.exported(api.parse(module))) for module in api.MODULES} == NAMES


def test_public_names_can_be_imported(api):
    for module, names in NAMES.items():
        if not module.startswith("integrations"):  # they need their frameworks
            found = importlib.import_module(f"openklear.{module}")
            assert [name for name in names.split() if not hasattr(found, name)] == []


def test_public_functions_and_classes_have_docstrings(api):
    for module, names in NAMES.items():
        for name in names.split():
            _, node, text = api.definition(module, name)
            assert text or isinstance(node, api.ast.Assign | api.ast.AnnAssign) or api.ast.get_docstring(node), name


def test_the_page_is_up_to_date(api):
    assert api.PAGE.read_text() == api.page(), "run python tools/api.py"
