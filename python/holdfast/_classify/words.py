"""The words that clients and providers use, as tables. The rules that read them are in `rules`.

Names are class names, matched over the MRO and never by import: `httpx` and `httpx2` both have a
`ReadTimeout`, and neither is the other's. Codes are compared `squeezed`. Phrases are lower-case
substrings; ``*`` stands for anything between two parts.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def squeezed(code: str) -> str:
    """One spelling for `rate_limit_error` and `RateLimitError`, `ThrottlingException`, …"""
    bare = code.lower().replace("_", "").replace("-", "").replace(" ", "")
    return bare.removesuffix("exception")


def said(phrases: Iterable[str], text: str) -> str | None:
    """The first of `phrases` that is in `text` (lower-case), or None."""
    for phrase in phrases:
        start = 0
        for part in phrase.split("*"):
            found = text.find(part, start)
            if found < 0:
                break
            start = found + len(part)
        else:
            return phrase
    return None


def _codes(words: str) -> frozenset[str]:
    return frozenset(squeezed(word) for word in words.split())


# ── rule 1, rule 2 ──────────────────────────────────────────────────────────────────────────────
CANCELLED = frozenset({"CancelledError", "GeneratorExit", "KeyboardInterrupt", "SystemExit"})
STOPS = frozenset({"KeyboardInterrupt", "SystemExit"})
CONTROL_FLOW = frozenset({"GraphBubbleUp", "GraphInterrupt", "ParentCommand", "NodeInterrupt"})

# ── rule 4: our own machine ─────────────────────────────────────────────────────────────────────
LOCAL_NAMES = frozenset({
    "PoolTimeout",  # every connection of our own pool is busy: nothing reached the server
    "MemoryError",
    "LocalProtocolError", "UnsupportedProtocol", "InvalidURL", "MissingSchema", "InvalidSchema",
    "CredentialsError", "NoCredentialsError", "PartialCredentialsError", "NoRegionError",
    "DefaultCredentialsError",
})  # fmt: skip
LOCAL_ERRNOS = frozenset({23, 24})
"""ENFILE, EMFILE: no file descriptors left."""
LOCAL_PHRASES = (
    "client has been closed",
    "event loop is closed",
    "could not resolve authentication",
    "api_key client option must be set",
    "missing credentials",
)

# ── rule 5: money and hard quotas ───────────────────────────────────────────────────────────────
QUOTA_CODES = _codes("""
    insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded
    project_spend_limit_exceeded organization_usage_limit_exceeded billing_hard_limit_reached
    billing_not_active billing_error enforced_spend_limit_reached quota_exceeded
    ServiceQuotaExceededException
""")
QUOTA_PHRASES = ("credit balance is too low",)
DAILY_OR_PER_MINUTE = "exceeded your current quota"
"""Google says this of minutes and of days, OpenAI only of money."""

# ── rule 6: longer than the window ──────────────────────────────────────────────────────────────
CONTEXT_NAMES = frozenset({"ContextOverflowError", "ContextWindowExceededError"})
CONTEXT_CODES = _codes("""
    context_length_exceeded context_window_exceeded context_length_exceeded_error
    exceed_context_size_error model_context_window_exceeded
""")
CONTEXT_PHRASES = (
    "maximum context length",
    "maximum model length",
    "context length exceeded",
    "context_length_exceeded",
    "prompt is too long",
    "exceeds the maximum number of tokens",
    "exceed the maximum number of tokens",
    "input token count*exceeds",
    "input is too long",
    "exceed context limit",
    "exceeds the available context size",
    "exceeds the context window",
    "exceeds the context length",
)

# ── rule 7: filtered or refused ─────────────────────────────────────────────────────────────────
POLICY_NAMES = frozenset({
    "ContentFilterFinishReasonError", "ContentPolicyViolationError", "OpenAIRefusalError",
    "BlockedPromptException", "StopCandidateException",
})  # fmt: skip
POLICY_CODES = _codes("""
    content_filter content_policy_violation ResponsibleAIPolicyViolation content_filter_error
    invalid_prompt data_inspection_failed refusal safety
""")
POLICY_PHRASES = (
    "content filtering policy",
    "content management policy",
    "blocked by the content filter",
    "blocked by content filter",
    "violating our usage policy",
    "violates our usage polic",
    "violation of our usage polic",
)

# ── rule 8: a status for every code ─────────────────────────────────────────────────────────────
_STATUS_WORDS = {
    400: """invalid_request_error invalid_request bad_request invalid_argument failed_precondition
        out_of_range validation ValidationException BadRequestError""",
    401: """authentication_error invalid_api_key invalid_authentication unauthorized unauthenticated
        UnrecognizedClientException ExpiredTokenException InvalidSignatureException""",
    403: "permission_error permission_denied forbidden AccessDeniedException",
    404: """not_found not_found_error model_not_found resource_not_found ResourceNotFoundException
        NotFoundError""",
    408: "ModelTimeoutException request_timeout",
    409: "conflict conflict_error ConflictException aborted already_exists",
    413: "request_too_large",
    424: "ModelErrorException ModelStreamErrorException",
    429: """rate_limit_error rate_limit_exceeded rate_limit_reached slow_down too_many_requests
        resource_exhausted ThrottlingException ThrottledException TooManyRequestsException
        RequestLimitExceeded ProvisionedThroughputExceededException""",
    499: "cancelled client_closed_request",
    500: """api_error server_error internal_server_error internal internal_error data_loss
        InternalServerException InternalFailure InternalServerError""",
    501: "unimplemented not_implemented",
    503: """server_is_overloaded service_unavailable service_unavailable_error unavailable
        ServiceUnavailableException ModelNotReadyException engine_overloaded
        service_tier_capacity_exceeded capacity_exceeded""",
    504: "timeout_error deadline_exceeded gateway_timeout timeout",
    529: "overloaded_error overloaded",
}
STATUS_OF = {code: status for status, words in _STATUS_WORDS.items() for code in _codes(words)}

BEATS_STATUS = _codes("""
    slow_down rate_limit_error rate_limit_exceeded too_many_requests ThrottlingException
    ThrottledException TooManyRequestsException RequestLimitExceeded
    ProvisionedThroughputExceededException server_is_overloaded engine_overloaded
    service_tier_capacity_exceeded overloaded_error overloaded
""")
"""Codes of load. They say more than the status they come with …"""
BEATABLE = frozenset({400, 403, 429, 500, 502, 503, 529})
"""… when the status is one of these."""

_STATUS_NAMES = {
    400: "BadRequestError ModelInvalidRequestError BadRequest InvalidArgument",
    401: "AuthenticationError ModelAuthenticationError Unauthorized Unauthenticated",
    403: "PermissionDeniedError ModelPermissionDeniedError Forbidden PermissionDenied",
    404: "NotFoundError ModelNotFoundError NotFound ResourceNotFoundException",
    409: "ConflictError ConflictException Aborted",
    413: "RequestTooLargeError ContentTooLargeError",
    422: "UnprocessableEntityError HTTPValidationError",
    424: "ModelErrorException ModelStreamErrorException",
    429: """RateLimitError ModelRateLimitError TooManyRequests TooManyRequestsError
        ResourceExhausted ThrottlingException""",
    500: "InternalServerError ModelAPIError ServerError InternalServerException",
    502: "BadGateway BadGatewayError",
    503: "ServiceUnavailableError ServiceUnavailable ServiceUnavailableException",
    504: "GatewayTimeout GatewayTimeoutError DeadlineExceeded DeadlineExceededError",
    529: "OverloadedError",
}
STATUS_OF_NAME = {name: n for n, words in _STATUS_NAMES.items() for name in words.split()}

# ── rules 10 to 16 ──────────────────────────────────────────────────────────────────────────────
RESPONSE_MODELS = frozenset({
    "ChatCompletion", "ChatCompletionChunk", "Completion", "Response", "Message",
    "GenerateContentResponse", "ChatResponse", "EmbedResponse", "CreateEmbeddingResponse",
})  # fmt: skip
"""What a pydantic error is titled when a client, and not a user's schema, rejected an answer."""

TLS_NAMES = frozenset({"SSLCertVerificationError", "CertificateError", "ClientConnectorCertificateError"})
TLS_PHRASES = ("certificate_verify_failed", "certificate verify failed")

CONNECT_NAMES = frozenset({
    "ConnectError", "ConnectTimeout", "ConnectTimeoutError", "ConnectionTimeoutError",
    "ClientConnectorError", "EndpointConnectionError", "NewConnectionError", "NameResolutionError",
    "gaierror", "ConnectionRefusedError", "ProxyError", "ProxyConnectionError",
})  # fmt: skip
CONNECT_ERRNOS = frozenset({101, 111, 113})
"""ENETUNREACH, ECONNREFUSED, EHOSTUNREACH."""
CONNECT_PHRASES = ("failed to connect to",)

MALFORMED_NAMES = frozenset({
    "JSONDecodeError", "APIResponseValidationError", "ResponseValidationError", "SSEError",
    "ChecksumMismatch", "UnknownApiResponseError", "DecodingError", "ContentDecodingError",
    "UnicodeDecodeError",
})  # fmt: skip
MALFORMED_PHRASES = (
    "no generation chunks",
    "null value for 'choices'",
    "no 'output' key",
    "unexpected response type",
)
MALFORMED_IN_CLIENT = {
    "AttributeError": ("object has no attribute 'model_dump'", "'str' object has no attribute"),
    "TypeError": ("'nonetype' object is not iterable", "'nonetype' object is not subscriptable"),
    "IndexError": ("list index out of range",),
    "KeyError": ("choices", "candidates", "output"),
}
"""What reading a bad answer looks like; the same words in the user's own code are a bug."""
CLIENT_PACKAGES = frozenset({
    "anthropic", "boto3", "botocore", "cohere", "google", "groq", "httpx", "httpx2", "json",
    "langchain", "langchain_anthropic", "langchain_aws", "langchain_cohere", "langchain_community",
    "langchain_core", "langchain_deepseek", "langchain_fireworks", "langchain_google_genai",
    "langchain_google_vertexai", "langchain_groq", "langchain_mistralai", "langchain_ollama",
    "langchain_openai", "langchain_xai", "litellm", "mistralai", "ollama", "openai",
})  # fmt: skip

TIMEOUT_NAMES = frozenset({
    "ReadTimeout", "WriteTimeout", "TimeoutException", "APITimeoutError", "Timeout", "TimeoutError",
    "ReadTimeoutError", "ServerTimeoutError", "SocketTimeoutError", "StreamChunkTimeoutError",
    "ModelTimeoutError", "RequestTimeoutError", "RequestTimeout",
})  # fmt: skip
NETWORK_NAMES = frozenset({
    "ReadError", "WriteError", "CloseError", "RemoteProtocolError", "ProtocolError",
    "ConnectionClosedError", "APIConnectionError", "ServerDisconnectedError", "ClientOSError",
    "ClientPayloadError", "ConnectionResetError", "BrokenPipeError", "ConnectionAbortedError",
    "ConnectionError", "ChunkedEncodingError", "IncompleteRead", "RemoteDisconnected",
    "NetworkError", "TransportError", "ModelConnectionError", "EventStreamError", "SSLError",
})  # fmt: skip
SERVER_NAMES = frozenset({"APIError", "APIStatusError", "ResponseError", "HTTPStatusError", "ClientError"})

VAGUE = frozenset({
    "APIConnectionError", "APITimeoutError", "ConnectionError", "TimeoutError", "Timeout",
    "TimeoutException", "NetworkError", "TransportError", "ModelConnectionError",
    "ModelTimeoutError",
})  # fmt: skip
TELLING = (
    CONNECT_NAMES | TIMEOUT_NAMES | NETWORK_NAMES | MALFORMED_NAMES | LOCAL_NAMES | CONTEXT_NAMES
    | POLICY_NAMES
) - VAGUE  # fmt: skip
"""Names that say enough: what was being handled meanwhile (`__context__`) is then not asked."""

BUG_NAMES = frozenset({
    "TypeError", "ValueError", "LookupError", "AttributeError", "AssertionError", "ImportError",
    "NotImplementedError", "NameError", "ArithmeticError", "SyntaxError", "RecursionError",
    "StreamError",  # httpx: a stream read twice or after its end
})  # fmt: skip
