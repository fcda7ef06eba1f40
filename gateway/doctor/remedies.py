"""The settings that mend things, product by product.

Owns: the lines to write for nginx, HAProxy, Apache httpd, Jenkins and this gateway.

Must not know: when which of them is needed.
"""

from __future__ import annotations

from typing import Final

from gateway.doctor.findings import Setting

NGINX: Final = "nginx"
HAPROXY: Final = "HAProxy"
APACHE: Final = "Apache httpd"
JENKINS: Final = "Jenkins"
GATEWAY: Final = "this gateway"
AGENT: Final = "agent.jar"

UPGRADE: Final = (
    Setting(
        NGINX,
        "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
        ' proxy_set_header Connection "upgrade";  (in the location that has proxy_pass)',
    ),
    Setting(HAPROXY, "nothing to set: remove http-request rules that delete Upgrade or Connection"),
    Setting(APACHE, "ProxyPass / http://BACKEND/ upgrade=websocket  (2.4.47 or newer)"),
)

# As in docs/doctor.md, "Settings that work": nothing of a client's is left.
FORWARDED: Final = (
    Setting(
        NGINX,
        "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;"
        " proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;"
        " proxy_set_header X-Forwarded-Port $server_port;",
    ),
    Setting(
        HAPROXY,
        "`http-request set-header X-Forwarded-For %[src]`,"
        " `http-request set-header X-Forwarded-Proto https`,"
        " `http-request set-header X-Forwarded-Host %[req.hdr(Host)]`,"
        " `http-request set-header X-Forwarded-Port %[dst_port]`  (set-header, not add-header)",
    ),
    Setting(
        APACHE,
        "`ProxyPreserveHost On`, `RequestHeader unset X-Forwarded-For early`,"
        " `RequestHeader unset X-Forwarded-Host early`,"
        ' `RequestHeader set X-Forwarded-Proto "https"`,'
        ' `RequestHeader set X-Forwarded-Port "443"`',
    ),
    Setting(GATEWAY, "trusted_proxies: [NETWORK OF THE PROXY IN FRONT]"),
)

RAW_PATHS: Final = (
    Setting(NGINX, "proxy_pass http://BACKEND;  - no path after the address, not even a single /"),
    Setting(HAPROXY, "remove `http-request normalize-uri` and `replace-path` rules"),
    Setting(APACHE, "AllowEncodedSlashes NoDecode and ProxyPass / http://BACKEND/ nocanon"),
)

HEADER_SIZES: Final = (
    Setting(NGINX, "large_client_header_buffers 4 16k;  (in http or the first server)"),
    Setting(HAPROXY, "tune.bufsize 16384  (in global; it is the default)"),
    Setting(APACHE, "LimitRequestFieldSize 16380"),
    Setting(JENKINS, "--requestHeaderSize=16384, besides: its own limit is 8192"),
)

NO_BUFFERING: Final = (
    Setting(
        NGINX,
        "proxy_buffering off; proxy_request_buffering off; proxy_http_version 1.1;",
    ),
    Setting(HAPROXY, "remove `option http-buffer-request`"),
    Setting(
        APACHE,
        "SetEnv proxy-sendchunked 1, SetEnv proxy-prefetch-nonblocking 1 (2.4.47 or newer), and"
        " ProxyPass ... flushpackets=on",
    ),
)

NO_SSO: Final = (
    Setting(
        "the proxy that asks for the login",
        "let PREFIX/login, PREFIX/wsagents/, PREFIX/tcpSlaveAgentListener/ and PREFIX/jnlpJars/"
        " through without it; Jenkins checks agents' secrets itself",
    ),
    Setting(
        NGINX,
        "location ~ ^PREFIX/(login|wsagents|tcpSlaveAgentListener|jnlpJars)(/|$)"
        " { auth_request off; proxy_pass ...; }",
    ),
    Setting("oauth2-proxy", "--skip-auth-route=^PREFIX/(login|wsagents|tcpSlaveAgentListener)"),
)


def idle_settings(seconds: float) -> tuple[Setting, ...]:
    """Return how to have an idle timer of ``seconds`` not cut sessions any more."""
    interval = max(1, int(seconds / 3))
    return (
        Setting(HAPROXY, "timeout tunnel 1h  (in the frontend's and backend's defaults)"),
        Setting(NGINX, "proxy_read_timeout 1h; proxy_send_timeout 1h;"),
        Setting(APACHE, "ProxyTimeout 3600, and ProxyWebsocketIdleTimeout 3600 where it is set"),
        Setting(GATEWAY, f"agents: {{keepalive: {{interval: {interval}s}}}}"),
        Setting(JENKINS, f"-Djenkins.websocket.pingInterval={interval}"),
    )
