"""avg@k, pass@k, G-Pass@k, maj@k and their intervals; differences of two models, and of two arms of a study.

intervals   the mean over problems with its interval, and the error of sampling beside it
passing     what k samples of a problem reach: pass@k, G-Pass@k, maj@k
paired      two models on the same problems: the difference, the sign-flip test, Holm
two_way     two arms of a study, each over several seeds, on the same problems; and one arm's mean

Pure: numbers in, numbers out.
"""

from openklear.evaluation.statistics.intervals import (
    Estimate,
    SamplingError,
    Table,
    avg_at_k,
    correctness,
    mean_interval,
    sampling_error,
    student_quantile,
    student_tail,
)
from openklear.evaluation.statistics.paired import difference_interval, holm, paired_difference, sign_flip
from openklear.evaluation.statistics.passing import (
    g_pass_at_k,
    g_pass_share,
    majority_share,
    mg_pass_at_k,
    mg_pass_share,
    pass_at_k,
    pass_share,
)
from openklear.evaluation.statistics.two_way import Effect, arm_mean, over_seeds, two_way

__all__ = [
    "Effect",
    "Estimate",
    "SamplingError",
    "Table",
    "arm_mean",
    "avg_at_k",
    "correctness",
    "difference_interval",
    "g_pass_at_k",
    "g_pass_share",
    "holm",
    "majority_share",
    "mean_interval",
    "mg_pass_at_k",
    "mg_pass_share",
    "over_seeds",
    "paired_difference",
    "pass_at_k",
    "pass_share",
    "sampling_error",
    "sign_flip",
    "student_quantile",
    "student_tail",
    "two_way",
]
