"""The headers in which LibreChat says who asks for costs, and about what."""

USER, CONVERSATION, MESSAGE = (
    "X-Tallyspan-User", "X-Tallyspan-Conversation", "X-Tallyspan-Message",
)  # fmt: skip
PLACEHOLDERS = {
    USER: "{{LIBRECHAT_USER_ID}}",
    CONVERSATION: "{{LIBRECHAT_BODY_CONVERSATIONID}}",
    MESSAGE: "{{LIBRECHAT_BODY_MESSAGEID}}",
}
"""What LibreChat fills in."""
