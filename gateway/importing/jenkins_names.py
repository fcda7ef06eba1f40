"""What Jenkins and well-known plugins have at the root.

Owns: the names, in Jenkins' own spelling. Must not know: nginx, gateway.yaml.
"""

from __future__ import annotations

from typing import Final

AGENTS: Final = frozenset({"wsagents", "tcpSlaveAgentListener", "jnlpJars", "login"})
# With such an end, a path is no prefix.
PARTS: Final = AGENTS | {
    "adjuncts", "bitbucket-hook", "bitbucket-scmsource-hook", "cli", "computer", "crumbIssuer",
    "generic-webhook-trigger", "ghprbhook", "git", "github-webhook", "gitlab-webhook", "health",
    "job", "jobs", "manage", "multibranch-webhook-trigger", "project", "prometheus", "script",
    "securityRealm", "static", "userContent", "view", "whoAmI", "wsecho",
}  # fmt: skip
# Besides, for "location /script", which is for /scriptText, too.
ROOT: Final = PARTS | {
    "asynchPeople", "config.xml", "configure", "configureClouds", "configureSecurity",
    "configureTools", "credentials", "credential-store", "exit", "heapDump", "loadStatistics",
    "load-statistics", "log", "loginError", "logout", "people", "pluginManager", "quietDown",
    "reload", "restart", "safeExit", "safeRestart", "scriptApproval", "scriptText", "scriptler",
    "signup", "systemInfo", "threadDump", "updateCenter", "user", "users", "views",
}  # fmt: skip
_SPELLINGS: Final = {name.lower(): name for name in ROOT}


def spell(path: str) -> str:
    """Return a path with Jenkins' own spelling of its names, whatever case they are in."""
    return "/".join(_SPELLINGS.get(each.lower(), each) for each in path.split("/"))
