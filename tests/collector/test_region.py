"""The region that a host names."""

import pytest

from tallyspan_collector.dialects.region import region_of


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.eu-west-1.amazonaws.com", "eu-west-1"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("bedrock-runtime.us-east-1.api.aws", "us-east-1"),
        ("vpce-0a1b-2c3d.bedrock-runtime.us-east-1.vpce.amazonaws.com", "us-east-1"),
        ("bedrock-mantle.us-east-1.api.aws", "us-east-1"),
        ("aws-external-anthropic.us-east-2.api.aws", "us-east-2"),
        ("europe-west4-aiplatform.googleapis.com", "europe-west4"),
        ("aiplatform.eu.rep.googleapis.com", "eu"),
        ("aiplatform.googleapis.com", ""),
        ("eu.api.openai.com", "eu"),
        ("api.openai.com", ""),
        ("us-east-1.api.x.ai", "us-east-1"),
        ("api.eu.mistral.ai", "eu"),
        ("api.mistral.ai", ""),
        ("bedrock-runtime.example.com", ""),
        ("", ""),
    ],
)
def test_the_region_of_a_host(host: str, region: str) -> None:
    assert region_of(host) == region
