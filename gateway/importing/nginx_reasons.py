"""Why a directive of nginx has no counterpart in gateway.yaml: one table.

Owns: the sentences. Must not know: which directives were carried over before; the table is for the
rest.
"""

from __future__ import annotations

import re
from typing import Final

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
_REWRITING: Final = "the gateway rewrites no paths and no answers"
_RATE: Final = (
    "no rates for requests; see limits, lockout and agents.handshake_rate for what there is"
)

# Pattern of names (whole) -> fate and reason. The first that fits counts.
_TABLE: Final[tuple[tuple[str, Fate, str], ...]] = (
    (r"auth_(basic|request|jwt|digest|ldap|pam|gss|openidc)\w*|satisfy", _LEFT, _AUTHENTICATION),
    (r"access_by_lua\w*", _LEFT, _AUTHENTICATION),
    (r"limit_(req|rate)\w*", _LEFT, _RATE),
    (r"limit_conn\w*", _LEFT, "see limits.connections_per_address (2048) for what there is"),
    (r"modsecurity\w*|naxsi\w*", _LEFT, "the gateway has no filter for the contents of requests"),
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
    (r"proxy_pass_\w+|proxy_pass_header", _NO, "all fields of requests and answers are passed on"),
    (
        r"ignore_invalid_headers|underscores_in_headers",
        _NO,
        "fields with unusual names are passed on where they are unambiguous",
    ),
    (r"proxy_(hide_header|ignore_headers|method|set_body|cookie_\w+)", _LEFT, _REWRITING),
    (
        r"add_header|more_\w+_headers|add_trailer",
        _LEFT,
        "the gateway adds no fields to answers but tls.hsts; Jenkins has its own for security",
    ),
    (r"rewrite\w*|sub_filter\w*|return|error_page|proxy_intercept_errors", _LEFT, _REWRITING),
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
    (r"ssl_(password_file|engine)", _LEFT, "keys are PEM files without passphrase"),
    (r"ssl_(crl|ocsp\w*)", _LEFT, "revocation of client certificates is not looked up"),
    (r"ssl_stapling\w*", _NO, "browsers no longer depend on it; the gateway does not staple"),
    (r"ssl|ssl_\w+", _NO, _TLS),
    (r"http2\w*|http3\w*|quic\w*|spdy\w*", _NO, "clients are offered HTTP/1.1, which agents speak"),
    (
        r"user|pid|daemon|master_process|worker_\w+|events|use|multi_accept|load_module|env|lock_file"
        r"|thread_pool|pcre_jit|timer_resolution|accept_mutex\w*|debug_\w+",
        _NO,
        _PROCESSES,
    ),
    (r"stream", _LEFT, "TCP is not passed on: agents come over WebSocket instead"),
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
        r"geo|geoip\w*|split_clients|perl\w*|js_\w+|lua_\w+|\w+_by_lua\w*|set_by_\w+",
        _LEFT,
        "the gateway runs no scripts and has no variables",
    ),
    (r"map", _LEFT, "the gateway has no variables"),
    (r"set", _NO, "the gateway has no variables; where this one was needed, its value was used"),
    (r"set_real_ip_from|real_ip_\w+", _LEFT, "see trusted_proxies for what there is"),
    (
        r"allow|deny",
        _LEFT,
        "it could not be put into networks that are allowed; see routes' allow_from",
    ),
    (r"if|location", _LEFT, "the gateway has no conditions; see routes' expose and allow_from"),
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
        "x-forwarded-server", "x-forwarded-ssl", "x-forwarded-scheme", "x-scheme",
        "x-original-uri", "x-url-scheme", "x-forwarded-by", "accept-encoding", "front-end-https",
        "sec-websocket-extensions", "sec-websocket-key", "sec-websocket-version",
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
    for pattern, fate, reason in _TABLE:
        if re.fullmatch(pattern, directive.name):
            return fate, reason
    return _LEFT, "no counterpart of it is known"


def _reason_for_field(directive: Directive) -> tuple[Fate, str]:
    name, value = directive.args[0].lower(), directive.args[-1]
    if name == "host" and not value.startswith(("$host", "$http_host", "${")):
        return _LEFT, "Host is passed on as the client sent it, which Jenkins needs"
    if name in _OWN_FIELDS:
        return _NO, "the gateway sets or passes on this field by itself"
    return _LEFT, "the gateway adds no fields of your own to requests"
