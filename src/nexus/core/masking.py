"""Secrets are taken out of texts before anybody else sees them: logs, error messages, explanations."""

import re

MASK = "***"

# A quote may be escaped: upstream errors are often JSON within JSON.
_QUOTE = r"(?:b?\\*[\"'])?"
# The value in `name=value`: up to the closing quote, else up to white space, a quote or a separator.
_VALUE = r"(?:(?<=\")[^\"\r\n]+|(?<=')[^'\r\n]+|(?:(?:basic|bearer|token)\s+)?[^\s\"'&,;)}\]]+)"
_NAMES = (
    r"(?:x-)?api[-_]?key|(?:access|auth|refresh|id)[-_]?token|client[-_]?secret|secret[-_]?key|secret"
    r"|password|passwd|pwd|private[-_]?key"
)

# Each pattern keeps its group 1 (which tells the reader what stood there) and masks the rest.
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # https://user:password@host
        r"((?<=://))[^\s/?#\"'@]*(?:@[^\s/?#\"'@]*)*(?=@)",
        # Authorization: Basic dXNlcg==, {'authorization': 'Bearer x'}, (b'authorization', b'Bearer x')
        rf"(\bauthorization\b(?:\\*[\"'])?\s*[:=,]\s*{_QUOTE}){_VALUE}",
        rf"(\bbearer\s+){_VALUE}",
        # api_key=x, "api_key": "x", x-api-key: x, GEMINI_API_KEY=x
        rf"((?<![a-z])(?:{_NAMES})\b(?:\\*[\"'])?\s*[:=,]\s*{_QUOTE}){_VALUE}",
        # ?key=x, as Google's API takes it
        rf"([?&](?:key|token|sig|signature)=){_VALUE}",
        # Keys that can be told by their prefix: OpenAI and Anthropic, Google, Hugging Face, Groq, GitHub
        r"(\bsk-)[\w-]{4,}",
        r"(\bAIza)[\w-]{10,}",
        r"(\b(?:hf|gsk|ghp|gho|xai)_)\w{8,}",
    )
)


def mask_secrets(text: str) -> str:
    """The text with `***` in place of keys, tokens, passwords, `Authorization` values and URL user names.

    Made for error texts and log lines: a word too many may be masked. Masking twice changes nothing more.
    """
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<1>{MASK}", text)
    return text
