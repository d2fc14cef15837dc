"""Messages <-> tokens: the only place that knows chat templates.

What is trained. A demonstration's tokens are the tokens of its prompt, exactly as the sampler will see them, then the
last assistant turn up to and with the first end token after the response. Template text after that token, such as a
newline, is cut off. Only the last assistant turn is trained; earlier ones are context, unless the template marks them
with `{% generation %}`, which then also says which tokens of the last turn are trained (the end token always is).
Masks come from positions alone, never from ids: the padding token may be the end token.

Where the template does not render the response after the prompt's text, white space at its edges and around the marks
of a thought aside (R1-like templates cut the reasoning out of past turns, Qwen3's adds an empty think block where there
is none, others join white space), the completion is made without it: the response's own tokens and the template's end
token. So no reasoning is lost, none is invented, and a program keeps its indentation. A prompt that already opens
`<think>` is not followed by a second one; a response that never closes it is refused, and so is a thought where the
prompt has closed it.

Text in a message that looks like a control token is encoded as plain text (`plain`). A template that the model could
not be sampled with as it was trained is refused when it is loaded (`check`); its arguments become part of it
(`arguments`).
"""

from openklear.models.chat.demonstrations import EncodedDemonstration, encode_demonstration
from openklear.models.chat.prompts import decode_completion, encode_prompt, prompt_tail, turn_end_id

__all__ = [
    "EncodedDemonstration",
    "decode_completion",
    "encode_demonstration",
    "encode_prompt",
    "prompt_tail",
    "turn_end_id",
]
