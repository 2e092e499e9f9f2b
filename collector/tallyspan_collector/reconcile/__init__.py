"""What was recorded against what the provider says it billed."""
