"""LiteLLM's config files as ours. The examples follow its documentation."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from acytoo.errors import UsageError
from acytoo.gateway.config import parse
from acytoo.gateway.litellm import import_litellm

pytest.importorskip("yaml", reason="the extra gateway has pyyaml")

PATH = Path("config.yaml")

QUICK_START = """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: https://europe.openai.azure.com/
      api_key: "os.environ/AZURE_API_KEY_EU"
      rpm: 6
  - model_name: bedrock-claude-v1
    litellm_params:
      model: bedrock/anthropic.claude-instant-v1
      aws_region_name: us-east-1
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-ca
      api_base: https://canada.openai.azure.com/
      api_key: "os.environ/AZURE_API_KEY_CA"
      api_version: "2024-02-01"
      rpm: 60
  - model_name: vllm-models
    litellm_params:
      model: openai/facebook/opt-125m
      api_base: http://10.0.0.1:8000/v1
      api_key: none
  - model_name: "*"
    litellm_params:
      model: "*"
litellm_settings:
  drop_params: True
  success_callback: ["langfuse"]
general_settings:
  master_key: sk-hunter2
  alerting: ["slack"]
"""

RELIABILITY = """
model_list:
  - {model_name: zephyr, litellm_params: {model: huggingface/H4/zephyr-7b, api_base: "http://h:8001"}}
  - {model_name: zephyr, litellm_params: {model: huggingface/H4/zephyr-7b, api_base: "http://h:8002"}}
  - {model_name: gpt-4o, litellm_params: {model: gpt-4o, api_key: os.environ/OPENAI_API_KEY}}
  - {model_name: gpt-4o-mini, litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY}}
  - {model_name: mixed, litellm_params: {model: groq/a, order: 2, max_parallel_requests: 4}}
  - {model_name: mixed, litellm_params: {model: mistral/b, order: 1}}
litellm_settings:
  num_retries: 1
  request_timeout: 10
  fallbacks: [{"zephyr": ["gpt-4o", "missing"]}, {"gpt-4o": ["zephyr"]}]
  context_window_fallbacks: [{"gpt-4o": ["gpt-4o-mini"]}]
  allowed_fails: 3
router_settings:
  routing_strategy: least-busy
  model_group_alias: {"gpt-4": "gpt-4o", "hidden": {"model": "zephyr", "hidden": true}, "lost": "nothing"}
  num_retries: 4
  cooldown_time: 30
  redis_host: redis.local
  redis_port: 6380
  enable_pre_call_checks: true
general_settings:
  completion_model: gpt-4o-mini
"""

TEAM = """
model_list:
  - model_name: anthropic/*
    litellm_params: {model: "anthropic/*", api_key: os.environ/ANTHROPIC_API_KEY}
  - model_name: anthropic/claude-sonnet-4-5
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_key: os.environ/ANTHROPIC_API_KEY}
    model_info: {supports_vision: true, mode: chat}
  - model_name: team/gpt
    litellm_params:
      model: openai/gpt-5-mini
      api_key: sk-hunter2
      organization: org-1
      extra_headers: {X-Team: a, X-Api-Key: hunter2}
      temperature: 0.2
      input_cost_per_token: 0.00000025
    model_info:
      output_cost_per_token: 0.000002
      cache_read_input_token_cost: 2.5e-8
      access_groups: ["beta"]
  - model_name: team/gpt-again
    litellm_params: {model: gpt-5-mini, api_key: sk-hunter2}
  - model_name: embed
    litellm_params: {model: openai/text-embedding-3-small}
    model_info: {mode: embedding}
  - model_name: shared
    litellm_params: {model: azure/gpt-4o, litellm_credential_name: eu}
  - model_name: llama
    litellm_params: {model: ollama_chat/llama3.2:3b, api_base: "${OLLAMA_URL}"}
  - not a model
credential_list:
  - credential_name: eu
    credential_values: {api_key: os.environ/EU_KEY, api_base: os.environ/EU_BASE}
litellm_settings:
  cache: true
  cache_params: {type: redis, ttl: 600, host: localhost}
  default_fallbacks: [llama]
router_settings:
  optional_pre_call_checks: [enforce_model_rate_limits]
  redis_url: os.environ/REDIS_URL
general_settings:
  database_url: "postgresql://litellm:hunter2@db/litellm"
environment_variables: {LANGFUSE_HOST: x}
guardrails: []
"""

LIMITS = """
model_list:
  - {model_name: a, litellm_params: {model: openai/gpt-5, api_key: os.environ/K, rpm: 100, tpm: 5000}}
  - {model_name: b, litellm_params: {model: openai/gpt-5-mini, api_key: os.environ/K, rpm: 100}}
router_settings: {routing_strategy: usage-based-routing-v2}
"""


def imported(text: str) -> tuple[dict[str, Any], str]:
    """Return our tables, and the list of what is not in them. The text is a valid config file."""
    result = import_litellm(text, PATH)
    parse(result.text, Path("acytoo.toml"))
    assert "hunter2" not in result.text + str(result.left_out)
    return tomllib.loads(result.text), "\n".join(result.left_out)


def test_deployments_of_a_name_become_a_balanced_model() -> None:
    tables, left_out = imported(QUICK_START)
    assert tables["models"]["gpt-4o"] == {
        "targets": [{"to": "azure/gpt-4o-eu", "weight": 6}, {"to": "azure-2/gpt-4o-ca", "weight": 60}],
        "balance": True,
    }
    assert tables["upstreams"]["azure-2"] == {
        "provider": "azure",
        "url": "https://canada.openai.azure.com/",
        "key": "env:AZURE_API_KEY_CA",
    }
    assert "model_list[0] (gpt-4o): rpm, tpm: they were weights, not limits" in left_out
    assert "model_list[2] (gpt-4o): api_version: Azure's v1 API has none" in left_out


def test_openai_at_another_url_becomes_a_compatible_upstream_without_a_key() -> None:
    tables, _ = imported(QUICK_START)
    assert tables["models"]["vllm-models"] == {"targets": ["compatible/facebook/opt-125m"]}
    assert tables["upstreams"]["compatible"] == {"provider": "compatible", "url": "http://10.0.0.1:8000/v1"}


def test_what_has_no_equivalent_is_listed() -> None:
    _, left_out = imported(QUICK_START)
    for line in (
        "model_list[1] (bedrock-claude-v1): no provider for 'bedrock/anthropic.claude-instant-v1'",
        "model_list[4] (*): no provider for '*'",
        "litellm_settings.success_callback",
        "general_settings.alerting",
    ):
        assert line in left_out.splitlines()


def test_the_master_key_becomes_the_admin_key_in_a_variable() -> None:
    tables, left_out = imported(QUICK_START)
    assert tables["server"] == {"admin_key": "env:ADMIN_KEY", "drop_unsupported": True}
    assert "a secret in clear: put it into the environment variable ADMIN_KEY" in left_out
    assert "make keys with acytoo keys new" in left_out


def test_fallbacks_become_further_targets_also_if_they_form_a_cycle() -> None:
    tables, left_out = imported(RELIABILITY)
    models = tables["models"]
    health = {"failures": 4, "pause": 30}
    openai = {"to": "openai/gpt-4o", **health}
    assert models["zephyr"]["targets"] == ["zephyr-deployments", openai]
    assert models["gpt-4o"]["targets"] == [openai, "zephyr-deployments"]
    assert models["zephyr-deployments"] == {
        "targets": [{"to": f"{name}/H4/zephyr-7b", **health} for name in ("compatible", "compatible-2")],
        "balance": True,
    }
    assert "fallbacks of 'zephyr': there is no model 'missing'" in left_out
    assert "context_window_fallbacks: a model goes on to its next target" in left_out


FALLBACKS = """
model_list:
  - {model_name: a, litellm_params: {model: groq/a}}
  - {model_name: b, litellm_params: {model: groq/b}}
  - {model_name: c, litellm_params: {model: groq/c}}
litellm_settings:
  fallbacks: [{"b": ["a"]}]
router_settings:
  fallbacks: [{"a": ["b"]}, {"ghost": ["b"]}, {"a": ["c", "lost"]}, {"b": ["c"]}, {"*": ["a"]}]
"""


def test_the_first_fallbacks_of_a_model_count_and_others_are_listed() -> None:
    tables, left_out = imported(FALLBACKS)
    targets = {name: model["targets"] for name, model in tables["models"].items()}
    assert targets["a"] == ["groq/a", "groq/b"]
    assert targets["b"] == ["groq/b", "groq/c"]
    assert "fallbacks of 'a': c, lost: others come before" in left_out
    assert "fallbacks of 'b': a: others come before" in left_out


def test_fallbacks_of_a_model_that_is_not_there_are_listed() -> None:
    assert "fallbacks of 'ghost': there is no such model" in imported(FALLBACKS)[1]


def test_fallbacks_of_a_star_are_those_of_models_without_their_own() -> None:
    tables, left_out = imported(FALLBACKS)
    assert tables["models"]["c"]["targets"] == ["groq/c", "groq/a"]
    assert "'*'" not in left_out


def test_a_model_of_the_responses_api_is_asked_for_by_that_api() -> None:
    tables, left_out = imported("""
model_list:
  - {model_name: deep, litellm_params: {model: openai/responses/gpt-5, api_key: os.environ/OPENAI_API_KEY}}
  - {model_name: own, litellm_params: {model: openai/responses/m, api_base: "http://h:1/v1", api_key: os.environ/K}}
  - {model_name: azure, litellm_params: {model: azure/responses/m, api_key: os.environ/K}}
""")
    assert "model_list[2] (azure): no provider for 'azure/responses/m'" in left_out
    assert tables["models"]["deep"]["targets"] == ["openai-responses/gpt-5"]
    assert tables["models"]["own"]["targets"] == ["openai-responses-2/m"]
    assert tables["upstreams"]["openai-responses-2"] == {
        "provider": "openai-responses", "url": "http://h:1/v1", "key": "env:K"
    }  # fmt: skip


def test_the_settings_of_the_router_win_and_the_default_model_is_the_first() -> None:
    tables, left_out = imported(RELIABILITY)
    assert tables["models"]["gpt-4o"]["attempts"] == 5
    assert next(iter(tables["models"])) == "gpt-4o-mini"
    assert tables["storage"] == {"counters": "redis://redis.local:6380"}
    assert tables["upstreams"]["openai"]["timeout"] == {"first_byte": 10, "idle": 10}
    assert "router_settings.routing_strategy: least-busy: balance = true goes by weight and load" in left_out
    assert "router_settings.enable_pre_call_checks" in left_out.splitlines()


def test_an_order_becomes_the_order_of_the_targets() -> None:
    model = imported(RELIABILITY)[0]["models"]["mixed"]
    assert [target["to"] for target in model["targets"]] == ["mistral/b", "groq/a"]
    assert model["targets"][1]["limit"] == 4
    assert "balance" not in model


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        ("weight: 3", "rpm: 0", "weights of 'm': some deployments have none, or 0"),
        ("weight: 3", "weight: 0", "weights of 'm': some deployments have none, or 0"),
        ("order: 2", "timeout: 9", "order of 'm': some deployments share one or have none"),
        ("order: 1", "order: 1", "order of 'm': some deployments share one or have none"),
    ],
)
def test_weights_and_orders_that_cannot_be_kept_are_listed(first: str, second: str, line: str) -> None:
    tables, left_out = imported(f"""
model_list:
  - {{model_name: m, litellm_params: {{model: groq/a, {first}}}}}
  - {{model_name: m, litellm_params: {{model: mistral/b, {second}}}}}
""")
    assert tables["models"]["m"]["balance"]
    assert left_out.splitlines().count(line) == 1


def test_aliases_become_models() -> None:
    tables, left_out = imported(RELIABILITY)
    assert tables["models"]["gpt-4"] == {"targets": ["gpt-4o"]}
    assert tables["models"]["hidden"] == {"targets": ["zephyr"]}
    assert "model_group_alias: lost" in left_out.splitlines()


def test_all_models_of_a_provider_become_an_upstream() -> None:
    tables, left_out = imported(TEAM)
    assert tables["upstreams"]["anthropic"] == {"provider": "anthropic", "key": "env:ANTHROPIC_API_KEY"}
    assert "anthropic/*" not in left_out


def test_a_name_with_a_slash_is_changed_unless_an_upstream_serves_it() -> None:
    tables, left_out = imported(QUICK_START.replace("model_name: vllm-models", "model_name: team/vllm"))
    assert tables["models"]["team-vllm"] == {"targets": ["compatible/facebook/opt-125m"]}
    assert "the name 'team/vllm': clients have to ask for 'team-vllm'" in left_out
    text = QUICK_START.replace("model_name: vllm-models", "model_name: compatible/facebook/opt-125m")
    tables, left_out = imported(text)
    assert list(tables["models"]) == ["gpt-4o"]
    assert "the name" not in left_out


def test_secrets_in_clear_become_variables_each_once() -> None:
    tables, left_out = imported(TEAM)
    assert tables["upstreams"]["openai"] == {
        "provider": "openai",
        "key": "env:OPENAI_KEY",
        "extra_headers": {"X-Team": "a", "X-Api-Key": "env:OPENAI_X_API_KEY", "OpenAI-Organization": "org-1"},
    }
    assert tables["upstreams"]["openai-2"] == {"provider": "openai", "key": "env:OPENAI_KEY"}
    assert tables["storage"] == {"ledger": "env:DATABASE_URL", "counters": "env:REDIS_URL"}
    assert left_out.count("put it into the environment variable OPENAI_KEY\n") == 1


def test_prices_become_dollars_per_million_tokens() -> None:
    assert imported(TEAM)[0]["prices"] == {"openai/gpt-5-mini": {"input": 0.25, "output": 2, "cached": 0.025}}


def test_credentials_of_the_list_are_those_of_the_deployment() -> None:
    assert imported(TEAM)[0]["upstreams"]["azure"] == {"provider": "azure", "url": "env:EU_BASE", "key": "env:EU_KEY"}


def test_variables_of_either_form_are_kept() -> None:
    assert imported(TEAM)[0]["upstreams"]["ollama"] == {"provider": "ollama", "url": "env:OLLAMA_URL"}


def test_default_fallbacks_and_the_cache_are_those_of_each_model() -> None:
    models = imported(TEAM)[0]["models"]
    assert models["team-gpt"] == {"targets": ["openai/gpt-5-mini", "ollama/llama3.2:3b"], "cache": 600}
    assert models["llama"] == {"targets": ["ollama/llama3.2:3b"], "cache": 600}


def test_the_rest_of_a_file_is_listed() -> None:
    left_out = imported(TEAM)[1].splitlines()
    for line in (
        "model_list[2] (team/gpt): temperature: a target has no default options",
        "model_list[2] (team/gpt): access_groups",
        "model_list[4] (embed): mode embedding: only chat is served",
        "model_list[7]: it has no model_name or no litellm_params",
        "litellm_settings.cache_params.host",
        "the keys in the database: make new ones with acytoo keys new",
        "environment_variables.LANGFUSE_HOST: set it in the environment of the server",
        "guardrails",
    ):
        assert line in left_out


def test_limits_that_are_enforced_become_limits_of_one_upstream_for_each_model() -> None:
    tables, left_out = imported(LIMITS)
    assert tables["upstreams"]["openai-gpt-5"] == {
        "provider": "openai",
        "key": "env:K",
        "requests_per_minute": 100,
        "tokens_per_minute": 5000,
    }
    assert tables["upstreams"]["openai-gpt-5-mini"]["requests_per_minute"] == 100
    assert "rpm" not in left_out


def test_a_key_in_the_default_variable_of_litellm_is_read_from_there() -> None:
    text = "model_list: [{model_name: m, litellm_params: {model: azure/x}}]"
    assert imported(text)[0]["upstreams"]["azure"] == {
        "provider": "azure",
        "key": "env:AZURE_API_KEY",
        "url": "env:AZURE_API_BASE",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "config.yaml:1: not valid YAML: "),
        ("a: b\nc: d: e", "config.yaml:2: not valid YAML: mapping values are not allowed here"),
        ("", "config.yaml: not a config file of LiteLLM: it has no model_list"),
        ("[]", "config.yaml: not a config file of LiteLLM"),
        ("model_list: {}", "config.yaml: not a config file of LiteLLM"),
        ("model_list: []", "config.yaml: none of its models can be served:"),
        (
            "model_list: [{model_name: m, litellm_params: {model: bedrock/x}}]",
            "config.yaml: none of its models can be served:\n- model_list[0] (m): no provider for 'bedrock/x'",
        ),
        ("model_list: [!!python/object:os.system {}]", "not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_imported_is_an_error(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        import_litellm(text, PATH)
    assert message in str(caught.value)


ODD = ("1", "[]", "{}", "null", "text", "[1]", "{a: 1}", "-1", "true", "1.5", "2020-01-01")


@pytest.mark.parametrize("value", ODD)
def test_an_odd_value_anywhere_is_left_out_or_an_error(value: str) -> None:
    for field in ("model", "api_base", "api_key", "rpm", "weight", "order", "timeout", "extra_headers", "organization"):
        text = f"model_list:\n- model_name: m\n  litellm_params: {{model: openai/x, {field}: {value}}}\n"
        _import_or_fail(text)
    for field in (
        "fallbacks",
        "num_retries",
        "cache_params",
        "allowed_fails",
        "default_fallbacks",
        "cache",
        "drop_params",
    ):
        _import_or_fail(f"{LIMITS}\nlitellm_settings: {{cache: true, {field}: {value}}}\n")
    for field in ("model_group_alias", "timeout", "redis_url", "redis_host", "cooldown_time", "routing_strategy"):
        _import_or_fail(f"{LIMITS.partition('router_settings')[0]}\nrouter_settings: {{{field}: {value}}}\n")
    for field in ("master_key", "database_url", "completion_model"):
        _import_or_fail(f"{LIMITS}\ngeneral_settings: {{{field}: {value}}}\n")
    for section in ("credential_list", "environment_variables", "general_settings"):
        _import_or_fail(f"{LIMITS}\n{section}: {value}\n")


def _import_or_fail(text: str) -> None:
    try:
        imported(text)
    except UsageError:
        pass


def test_upstreams_with_the_same_limits_are_not_shared_by_two_models() -> None:
    first, second, *rest = LIMITS.replace(", tpm: 5000", "").strip().splitlines()[1:]
    assert imported("\n".join(["model_list:", second, first, *rest]))[0]["models"] == {
        "a": {"targets": ["openai-gpt-5/gpt-5"]},
        "b": {"targets": ["openai-gpt-5-mini/gpt-5-mini"]},
    }


def test_a_model_whose_name_ends_like_a_number_of_an_upstream_has_limits_of_its_own() -> None:
    text = """model_list:
  - {model_name: a, litellm_params: {model: openai/m, api_key: os.environ/K, rpm: 1}}
  - {model_name: b, litellm_params: {model: openai/m, api_key: os.environ/K, rpm: 9}}
  - {model_name: c, litellm_params: {model: openai/m-2, api_key: os.environ/K, rpm: 9}}
router_settings: {routing_strategy: usage-based-routing-v2}"""
    assert imported(text)[0]["models"] == {
        "a": {"targets": ["openai-m/m"]},
        "b": {"targets": ["openai-m-2/m"]},
        "c": {"targets": ["openai-m-2-2/m-2"]},
    }


@pytest.mark.parametrize(
    ("params", "line"),
    [
        (
            "{model: zhipu/glm-4-flash, api_base: https://open.bigmodel.cn/api/paas/v4}",
            "no provider for 'zhipu/glm-4-flash': if its API is that of OpenAI, write openai/glm-4-flash",
        ),
        (
            "{model: os.environ/MODEL, api_base: http://h/v1}",
            "no provider for 'os.environ/MODEL': write the name that is in this variable",
        ),
    ],
)
def test_what_to_do_about_a_model_without_a_provider_is_listed(params: str, line: str) -> None:
    text = f"""model_list: [
      {{model_name: m, litellm_params: {params}}}, {{model_name: n, litellm_params: {{model: groq/x}}}}]"""
    assert f"model_list[0] (m): {line}" in imported(text)[1].splitlines()


def test_a_cache_that_no_model_can_have_is_listed() -> None:
    text = """model_list: [{model_name: openai/*, litellm_params: {model: openai/*}}]
litellm_settings: {cache: true, cache_params: {ttl: 60}}"""
    assert "litellm_settings.cache: only a table in [models] can have one" in imported(text)[1].splitlines()


def test_an_upstream_gives_way_to_a_model_of_the_same_name() -> None:
    text = """model_list: [
      {model_name: groq/*, litellm_params: {model: groq/*}}, {model_name: Groq, litellm_params: {model: groq/x}}]"""
    tables, left_out = imported(text)
    assert tables["models"]["Groq"] == {"targets": ["groq-2/x"]}
    assert "model_list[0] (groq/*): clients have to ask for groq-2/MODEL" in left_out.splitlines()


@pytest.mark.parametrize("name", ["missing", "[a]", "{}"])
def test_credentials_that_are_missing_are_listed(name: str) -> None:
    text = f"model_list: [{{model_name: m, litellm_params: {{model: openai/x, litellm_credential_name: {name}}}}}]"
    assert "model_list[0] (m): litellm_credential_name" in imported(text)[1].splitlines()


def test_names_that_are_not_texts_are_listed() -> None:
    text = "model_list: [{model_name: m, 1: 2, litellm_params: {model: openai/x, 3: 4}, model_info: {5: 6}}]\n7: 8"
    left_out = imported(text)[1].splitlines()
    assert left_out == ["model_list[0] (m): 3", "model_list[0] (m): 1", "model_list[0] (m): 5", "7"]
