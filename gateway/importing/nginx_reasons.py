"""Why a directive of nginx has no counterpart in gateway.yaml, and what to do: one table.

Owns: the sentences. Must not know: which directives were carried over before; the table is for the
rest.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.config.claims import CLAIM_PREFIX, CLAIMS
from gateway.importing.nginx_access import closing
from gateway.importing.nginx_scope import Scope, walk
from gateway.importing.nginx_source import Directive
from gateway.importing.report import Fate

_NO = Fate.NOT_NEEDED
_LEFT = Fate.LEFT_OUT

_AUTHENTICATION: Final = (
    "the gateway asks nobody for a password: Jenkins must, or a proxy of your own in front; until"
    " then people get in who did not"
)
_FILES: Final = "the gateway serves no files"
_BUFFERS: Final = "nothing is buffered, in neither direction"
_LOGS: Final = "logs go to standard output and standard error; see access_log"
_PROCESSES: Final = "processes are the gateway's own matter; see workers"
_TLS: Final = "the gateway's own choice is TLS 1.2 and 1.3 with forward secrecy; see tls"
_REWRITING: Final = (
    "the gateway rewrites no paths and no answers: have Jenkins, or a proxy in front, do it"
)
_ANSWERS: Final = "the gateway gives no answers of its own: the controller is asked, or it is 404"
_CONDITIONS: Final = (
    "the gateway has no conditions and no variables; see routes' expose and allow_from"
)
_RATE: Final = (
    "no rates for requests; see limits, lockout and agents.handshake_rate for what there is"
)
_FILES_IN: Final = ("root", "alias", "autoindex", "internal", "try_files", "expires")

# Jenkins' own, at the root or below a prefix.
_OWN_FILES: Final = re.compile(
    r"^(?:[=~*^ ]*\^)?\\?/(?:[\w.-]+\\?/)?(?:static|userContent)(?![\w.-])"
)
_KEEPING_OUT: Final = re.compile(r"auth_|access_by_lua|satisfy$|limit_except$")

# Pattern of names (whole) -> fate and reason. The first that fits counts.
_TABLE: Final[tuple[tuple[str, Fate, str], ...]] = (
    (
        r"auth_(basic_user_file|request_set)",
        _NO,
        "the gateway asks nobody for a password; see what is said of auth_basic and auth_request",
    ),
    (r"auth_(basic|request|jwt|digest|ldap|pam|gss|openidc)\w*|satisfy", _LEFT, _AUTHENTICATION),
    (r"access_by_lua\w*", _LEFT, _AUTHENTICATION),
    (r"limit_(req|rate)\w*", _LEFT, _RATE),
    (r"limit_conn\w*", _LEFT, "see limits.connections_per_address (2048) for what there is"),
    (
        r"modsecurity\w*|naxsi\w*",
        _LEFT,
        "the gateway has no filter for the contents of requests: keep such a proxy in front",
    ),
    (r"root|alias|index|autoindex\w*|try_files|expires|etag|open_file_cache\w*", _NO, _FILES),
    (r"access_log|error_log|log_\w+", _NO, _LOGS),
    (
        r"proxy_(buffering|buffers?|buffer_size|busy_buffers_size|request_buffering|max_temp_file_size"
        r"|temp_(path|file_write_size)|limit_rate)|client_body_(buffer_size|temp_path|in_\w+)"
        r"|postpone_output|output_buffers",
        _NO,
        _BUFFERS,
    ),
    (r"proxy_http_version", _NO, "connections to controllers are HTTP/1.1 and kept"),
    (
        r"proxy_connect_timeout",
        _NO,
        "5s, then the next address; see controllers.NAME.connections.connect_timeout",
    ),
    (
        r"proxy_(send|read)_timeout|proxy_socket_keepalive|proxy_ignore_client_abort|lingering_\w+",
        _NO,
        "sessions are kept alive by pings, and routes have response_timeout and minimum_body_rate",
    ),
    (
        r"proxy_next_upstream\w*",
        _NO,
        "what can be repeated safely is repeated; see controllers.NAME.ejection and health_check",
    ),
    (
        r"proxy_redirect",
        _NO,
        "Jenkins is told scheme, host and port as people see them, for its redirects",
    ),
    (
        r"proxy_ssl_(verify|server_name|session_reuse|protocols|ciphers|verify_depth|name"
        r"|trusted_certificate|certificate|certificate_key)",
        _NO,
        "a controller with an https url is always verified; see controllers.NAME.tls",
    ),
    (r"proxy_ssl_\w+", _LEFT, "see controllers.NAME.tls for what there is"),
    (r"proxy_(cache\w*|no_cache|store\w*)", _NO, "nothing is cached, so nothing is out of date"),
    (r"proxy_pass_header", _NO, "all fields of requests and answers are passed on"),
    (r"proxy_pass_request_\w+", _LEFT, "requests are passed on whole: have Jenkins ignore it"),
    (
        r"proxy_pass",
        _LEFT,
        "no route of the result leads there: write a controller and a route for it",
    ),
    (
        r"ignore_invalid_headers|underscores_in_headers",
        _NO,
        "fields with unusual names are passed on where they are unambiguous",
    ),
    (r"proxy_(hide_header|ignore_headers|method|set_body|cookie_\w+)", _LEFT, _REWRITING),
    (
        r"add_header|more_\w+_headers|add_trailer",
        _LEFT,
        "the gateway adds no fields to answers but tls.hsts; Jenkins has its own for security, and"
        " others are for Jenkins or a proxy in front to add",
    ),
    (r"rewrite\w*|subs?_filter\w*", _LEFT, _REWRITING),
    (r"return|empty_gif|echo\w*|stub_status|dav_\w+", _LEFT, _ANSWERS),
    (
        r"error_page|proxy_intercept_errors",
        _LEFT,
        "error pages are Jenkins' or the gateway's own: nobody sees this one any more",
    ),
    (
        r"limit_except",
        _LEFT,
        "methods are not told apart: what was refused there gets in; see routes' allow_from",
    ),
    (r"internal", _LEFT, "nobody but nginx could ask for it; now clients can: see expose"),
    (r"ssi|auth_delay|addition_types|xslt\w*", _NO, _FILES),
    (
        r"recursive_error_pages|server_name_in_redirect|port_in_redirect|absolute_redirect",
        _NO,
        "no redirects of its own but redirect_to_https",
    ),
    (
        r"g(un)?zip\w*|brotli\w*|zstd\w*",
        _NO,
        "answers are passed on as the controller compresses them",
    ),
    (r"ssl_(password_file|engine)", _LEFT, "keys are PEM files without passphrase: take it away"),
    (
        r"ssl_(crl|ocsp\w*)",
        _LEFT,
        "revocation of client certificates is not looked up: have them expire soon",
    ),
    (
        r"ssl_certificate(_key)?",
        _LEFT,
        "no listener of the result has it: name it in tls where it is needed",
    ),
    (r"ssl_stapling\w*", _NO, "browsers no longer depend on it; the gateway does not staple"),
    (
        r"ssl_(verify_client|client_certificate|trusted_certificate)",
        _NO,
        "clients are asked for certificates where tls.client_certificates is, and only there",
    ),
    (r"ssl|ssl_\w+", _NO, _TLS),
    (r"http2\w*|http3\w*|quic\w*|spdy\w*", _NO, "clients are offered HTTP/1.1, which agents speak"),
    (
        r"user|pid|daemon|master_process|worker_\w+|events|use|multi_accept|load_module|env|lock_file"
        r"|thread_pool|pcre_jit|timer_resolution|accept_mutex\w*|debug_\w+",
        _NO,
        _PROCESSES,
    ),
    (
        r"stream",
        _LEFT,
        "TCP is not passed on: start agents with -webSocket, and keep nginx for anything else",
    ),
    (r"mail", _LEFT, "the gateway is for Jenkins alone"),
    (
        r"sendfile\w*|tcp_no\w+|aio\w*|directio\w*|read_ahead|types|types_hash\w*|default_type|charset\w*"
        r"|server_tokens|server_names_hash\w*|variables_hash\w*|map_hash\w*|proxy_headers_hash\w*"
        r"|reset_timedout_connection|resolver\w*|merge_slashes|chunked_transfer_encoding"
        r"|max_ranges|if_modified_since|break|msie_\w+|keepalive_(requests|disable|time)|zone",
        _NO,
        "the gateway's own way needs no setting",
    ),
    (
        r"lua_(package|shared|code|ssl|socket|max|regex|check)\w*",
        _NO,
        "the gateway runs no scripts",
    ),
    (
        r"perl\w*|js_\w+|lua_\w+|\w+_by_lua\w*|set_by_\w+",
        _LEFT,
        "the gateway runs no scripts: keep what depends on it in a proxy in front",
    ),
    (r"map|geo|geoip\w*|split_clients", _LEFT, f"{_CONDITIONS}; look for where it was used"),
    (r"set", _NO, "the gateway has no variables; where this one was needed, its value was used"),
    (r"set_real_ip_from|real_ip_\w+", _LEFT, "see trusted_proxies for what there is"),
    (
        r"allow|deny",
        _LEFT,
        "it could not be put into networks that are allowed; see routes' allow_from",
    ),
    (r"if", _LEFT, _CONDITIONS),
    (r"location", _NO, "nothing in it is told from the rest of its route"),
    (r"fastcgi\w*|uwsgi\w*|scgi\w*|grpc\w*|memcached\w*", _LEFT, "controllers speak HTTP"),
    (
        r"client_max_body_size|client_\w+_timeout|send_timeout|keepalive_timeout",
        _NO,
        "limits are for the whole gateway; see limits",
    ),
    (
        r"client_header_buffer_size|large_client_header_buffers|client_body_\w+|\w+_pool_size",
        _NO,
        "32KiB of head are taken, of which Jenkins takes 8KiB; see limits.head",
    ),
)

_OWN_FIELDS: Final = frozenset(
    {
        "host", "connection", "upgrade", "x-real-ip", "forwarded", "proxy", "x-request-id",
        "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto",
        "x-scheme", "x-original-uri", "x-url-scheme", "accept-encoding", "front-end-https",
        "sec-websocket-extensions", "sec-websocket-key", "sec-websocket-version",
    }
)  # fmt: skip
# Claims that say no more than those that the gateway writes, or nothing that Jenkins asks for.
_IDLE_CLAIMS: Final = frozenset(
    {
        "x-forwarded-server", "x-forwarded-ssl", "x-forwarded-scheme", "x-forwarded-by",
        "x-proxied-https",
    }
)  # fmt: skip


def reason_for(directive: Directive) -> tuple[Fate, str]:
    """Say why a directive is not in gateway.yaml."""
    if directive.name == "proxy_set_header":
        return _reason_for_field(directive)
    if directive.name == "map" and directive.args[:1] == ("$http_upgrade",):
        return _NO, "upgrades are passed on and kept alive"
    if directive.name in ("auth_basic", "auth_request") and directive.args == ("off",):
        return _NO, "the gateway asks nobody for a password"
    if directive.name == "satisfy" and directive.args == ("any",):
        return _LEFT, (
            "without passwords only addresses let in: who had a password and no such address is"
            " kept out now, and with no addresses at all everybody gets in; see allow_from"
        )
    if directive.name == "add_header" and directive.args[:1] == ("X-SSH-Endpoint",):
        return _LEFT, (
            "Jenkins says it by itself where its SSH server is on; another host than its own is"
            " told to it by -Dorg.jenkinsci.main.modules.sshd.SSHD.hostName=HOST"
        )
    if directive.name == "error_page" and directive.args[:1] == ("497",):
        return _LEFT, (
            "HTTP on a listener with tls is refused: give it a port of its own with"
            " redirect_to_https: true"
        )
    for pattern, fate, reason in _TABLE:
        if re.fullmatch(pattern, directive.name):
            return fate, reason
    return _LEFT, "no counterpart of it is known: see whether anything depends on it"


def _reason_for_field(directive: Directive) -> tuple[Fate, str]:
    name, value = directive.args[0].lower(), directive.args[-1]
    if name == "host" and not value.startswith(("$host", "$http_host", "${")):
        return _LEFT, "Host is passed on as the client sent it, which Jenkins needs"
    if name in _OWN_FIELDS:
        return _NO, "the gateway sets or passes on this field by itself"
    if name in _IDLE_CLAIMS:
        return _NO, (
            "the gateway takes it out of requests: Jenkins does not need it, and is told host,"
            " port and scheme by X-Forwarded-Host, -Port and -Proto"
        )
    if name in CLAIMS or name.startswith(CLAIM_PREFIX):
        return _LEFT, (
            "the gateway does not set it, and takes it out of requests: a log-in by it, or whatever"
            " else needs it, works only where a proxy in trusted_proxies sets it and"
            " trusted_proxy_headers names it"
        )
    return _LEFT, (
        "the gateway does not set it, and passes on what clients send under this name: nothing"
        " behind it may believe it"
    )


def explain(directive: Directive) -> tuple[Fate, str]:
    """Say why a block is not in gateway.yaml: by the first thing in it that matters."""
    fate, reason = reason_for(directive)
    if directive.name not in ("location", "if") or directive.block is None:
        return fate, reason
    if any(".well-known" in arg for arg in directive.args):
        return Fate.LEFT_OUT, (
            "the gateway serves no files: certificates have to be renewed in another way than"
            " by a folder (DNS, or a server of its own on another port)"
        )
    if directive.name == "if" and "$ssl_client_verify" in " ".join(directive.args):
        return Fate.LEFT_OUT, (
            "paths are not told apart by client certificates: set"
            " tls.client_certificates.mode to require if nobody here does without"
        )
    is_own = directive.name == "location" and bool(_OWN_FILES.search("".join(directive.args[-1:])))
    names = {each.name for each in directive.block}
    if closing(Scope(directive.block)) or "deny" in names or (is_own and "internal" in names):
        return Fate.LEFT_OUT, (
            "it was closed there, to some or to all, and is as open as the rest in the result: see"
            " routes' expose and allow_from"
        )
    if is_own:
        inner = [explain(each) for each in directive.block if _keeps_out(each)]
        left = [each for each in inner if each[0] is Fate.LEFT_OUT]
        return left[0] if left else (Fate.NOT_NEEDED, "the controller serves these files by itself")
    if any(each.name == "proxy_pass" for each in walk(directive.block)):
        return Fate.LEFT_OUT, (
            "routes go by the beginnings of paths, not by patterns or conditions: write a"
            " controller and a route for it, or leave it to the route that has its path"
        )
    if any(each.name in _FILES_IN for each in directive.block):
        return Fate.LEFT_OUT, "the gateway serves no files: have another server do it if need be"
    for each in directive.block:
        inner_fate, inner_reason = explain(each)
        if inner_fate is Fate.LEFT_OUT:
            return inner_fate, inner_reason
    if directive.name == "location":
        return Fate.LEFT_OUT, "nginx passed nothing on there; now it is as open as the rest"
    return fate, reason


def _keeps_out(directive: Directive) -> bool:
    if directive.name == "if":
        return bool(closing(Scope(directive.block or ())))
    return _KEEPING_OUT.match(directive.name) is not None
