"""Which failures cost nothing: the request was refused, or never left the client.

A timeout while waiting, a connection that is reset and a stream that is cut are none of these: the
provider may have worked, and bills what it wrote.
"""

import re
from collections.abc import Mapping

from tallyspan_collector.read.call import Call

FIRST_WITHOUT_ANSWER = 300
"""The first HTTP status that no model's answer has."""

UNSENT: Mapping[str, str] = {
    "no connection was made": "ConnectError ConnectTimeout PoolTimeout ProxyError"
    " APIConnectionError ConnectionError ConnectionRefusedError NewConnectionError MaxRetryError"
    " ConnectTimeoutError ClientConnectorError ClientConnectorSSLError ClientProxyConnectionError"
    " ConnectionTimeoutError ServerFingerprintMismatch EndpointConnectionError ProxyConnectionError"
    " TransportError URLError ConnectException HttpConnectTimeoutException ECONNREFUSED"
    " EHOSTUNREACH ENETUNREACH EADDRNOTAVAIL UND_ERR_CONNECT_TIMEOUT UNAVAILABLE",
    "the host's name has no address": "gaierror NameResolutionError ClientConnectorDNSError"
    " UnknownHostException DNSError ENOTFOUND EAI_AGAIN",
    "the hosts did not agree on TLS": "SSLError SSLCertVerificationError"
    " ClientConnectorCertificateError SSLHandshakeException CERT_HAS_EXPIRED"
    " DEPTH_ZERO_SELF_SIGNED_CERT SELF_SIGNED_CERT_IN_CHAIN UNABLE_TO_VERIFY_LEAF_SIGNATURE"
    " UNABLE_TO_GET_ISSUER_CERT_LOCALLY ERR_TLS_CERT_ALTNAME_INVALID EPROTO",
    "no request could be made of it": "LocalProtocolError UnsupportedProtocol InvalidURL"
    " InvalidSchema MissingSchema InvalidHeader InvalidUrlClientError NonHttpUrlClientError"
    " LocationParseError NoCredentialsError PartialCredentialsError CredentialRetrievalError"
    " TokenRetrievalError UnauthorizedSSOTokenError NoRegionError ParamValidationError"
    " UnknownEndpointError EndpointProviderError InvalidEndpointConfigurationError"
    " DefaultCredentialsError RefreshError ERR_INVALID_URL UND_ERR_INVALID_ARG AI_LoadAPIKeyError"
    " AI_NoSuchModelError AI_InvalidPromptError AI_InvalidArgumentError"
    " AI_UnsupportedFunctionalityError",
    "it was not written whole": "WriteError WriteTimeout BrokenPipeError"
    " ClientConnectionResetError EPIPE",
}
"""Why a request never left the client -> names of errors: httpx, aiohttp, requests, urllib3,
botocore, google-auth, undici and Node.js, the AI SDK, Java, Go, and the SDKs above them."""

REFUSED: Mapping[str, str] = {
    "an SDK's name of a status of 400 or more": "BadRequestError AuthenticationError"
    " PermissionDeniedError NotFoundError ConflictError UnprocessableEntityError RateLimitError"
    " InternalServerError RequestTooLargeError ServiceUnavailableError OverloadedError"
    " DeadlineExceededError ContextWindowExceededError ContentPolicyViolationError"
    " UnsupportedParamsError BudgetExceededError OpenAIModelNotFoundError ModelHTTPError"
    " OpenAIContextOverflowError",
    "the provider's own word": "invalid_request_error authentication_error permission_error"
    " not_found_error request_too_large rate_limit_error billing_error overloaded_error"
    " rate_limit_exceeded insufficient_quota context_length_exceeded model_not_found"
    " invalid_api_key",
    "Bedrock refuses": "ThrottlingException ValidationException AccessDeniedException"
    " ResourceNotFoundException ServiceQuotaExceededException ModelNotReadyException"
    " ServiceUnavailableException UnrecognizedClientException ExpiredTokenException",
    "a gRPC status": "RESOURCE_EXHAUSTED UNAUTHENTICATED PERMISSION_DENIED INVALID_ARGUMENT"
    " NOT_FOUND FAILED_PRECONDITION UNIMPLEMENTED ResourceExhausted InvalidArgument NotFound"
    " PermissionDenied Unauthenticated FailedPrecondition",
}
"""Why a request was refused -> names of errors, for emitters that do not tell the status."""

_NAMES = frozenset(
    name for table in (UNSENT, REFUSED) for names in table.values() for name in names.split()
)
_LAST_NAME = re.compile(r"(\w+)\W*\Z")


def costs_nothing(call: Call) -> bool:
    """Whether the call failed in a way that no provider bills.

    A status of 300 or more is certain: then only counts that come from the provider's answer
    are billed, and not those that the sender worked out. The name of an error is less so: the call
    is billed if anything was generated, or an answer began.
    """
    if call.http_status >= FIRST_WITHOUT_ANSWER:
        return not (call.usage and call.usage_source == "provider")
    if call.http_status or not call.is_error:
        return False
    name = _LAST_NAME.search(call.error_type)
    if name is None or name[1] not in _NAMES:
        return False
    has_begun = bool(call.response_id) and bool(call.usage) and call.usage_source == "provider"
    return not (call.usage.output_tokens or has_begun)
