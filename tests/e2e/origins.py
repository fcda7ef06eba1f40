"""nginx and Apache httpd as controllers: the same folders and paths, each in its own words.

Owns: their configuration, and the files they serve. Paths of both:

    /FILE            as it is, with ranges and validators
    /gzip/FILE       compressed on the fly, so chunked
    /chunked/FILE    chunked
    /put/NAME        PUT stores it under uploads/
    /small/NAME      the same, up to 1 MiB: beyond that 413 before the body is read
    anything else    404; every answer names its request line in X-Request-Line

``short`` is a port where idle connections are closed after IDLE_MS.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.e2e.programs import HOST, Program, apache, nginx

LARGE: Final = 48 << 20
IDLE_MS: Final = 100
_APACHE_MODULES: Final = (
    "mpm_event authz_core alias mime headers dir filter deflate include dav dav_fs reflector"
)


@dataclass(frozen=True)
class Origin:
    """A running origin; ``host`` is the name of its route at the gateway, ``short`` likewise."""

    host: str
    short: str
    port: int
    folder: Path
    program: Program

    def file(self, name: str) -> bytes:
        """Return the content of a file that is served."""
        return (self.folder / "files" / name).read_bytes()

    def uploaded(self, name: str) -> str | None:
        """Return the SHA-256 of an upload; None if there is none."""
        path = self.folder / "uploads" / name
        return sha256(path.read_bytes()) if path.exists() else None

    def connections(self) -> int:
        """Return how many connections the short-lived port has served requests on."""
        return len(set((self.folder / "connections").read_text().split()))


def sha256(data: bytes) -> str:
    """Return the digest in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def write_files(folder: Path) -> None:
    """Make the files that are served, the same every time."""
    files = folder / "files"
    files.mkdir()
    (folder / "uploads").mkdir()
    noise = random.Random(4)
    (files / "small.txt").write_bytes(b"small answer\n")
    (files / "page.html").write_bytes(b"".join(b"<p>line %d</p>\n" % i for i in range(20_000)))
    (files / "large.bin").write_bytes(noise.randbytes(LARGE))
    for file in files.iterdir():
        os.utime(file, (1_700_000_000, 1_700_000_000))  # the tags of files just written are weak


@contextmanager
def nginx_origin(folder: Path, port: int, short: int) -> Iterator[Origin]:
    """Run nginx with everything above inside the block."""
    write_files(folder)
    servers = f"""\
  types {{ text/html html; text/plain txt; application/octet-stream bin; }}
  log_format connections "$connection";
  add_header X-Request-Line "$request" always;
  add_header X-Seen-For "$http_x_forwarded_for" always;
  add_header X-Seen-Host "$http_x_forwarded_host" always;
  add_header X-Seen-Proto "$http_x_forwarded_proto" always;
  add_header X-Seen-Port "$http_x_forwarded_port" always;
  root {folder}/files;
  server {{
    listen {HOST}:{port};
    client_max_body_size 0;
    location /gzip/ {{
      alias {folder}/files/;
      gzip on;
      gzip_min_length 1;
      gzip_types *;
    }}
    location /chunked/ {{
      alias {folder}/files/;
      ssi on;
      ssi_types *;
      add_trailer X-Checked "$request_method";
    }}
    location /put/ {{ alias {folder}/uploads/; dav_methods PUT; }}
    location /small/ {{
      alias {folder}/uploads/;
      dav_methods PUT;
      client_max_body_size 1m;
    }}
  }}
  server {{
    listen {HOST}:{short};
    keepalive_timeout {IDLE_MS}ms;
    access_log {folder}/connections connections;
  }}
"""
    with nginx(folder, servers, [port, short]) as program:
        yield Origin("nginx.test", "nginx-short.test", port, folder, program)


@contextmanager
def apache_origin(folder: Path, port: int, short: int) -> Iterator[Origin]:
    """Run Apache httpd with everything above, and /reflect, which sends back what it gets."""
    write_files(folder)
    config = f"""\
AllowEncodedSlashes NoDecode
TypesConfig /dev/null
AddType text/html .html
DavLockDB {folder}/davlock
LogFormat "%{{c}}L-%{{remote}}p" connections
Header always set X-Request-Line "expr=%{{THE_REQUEST}}"
Alias /gzip {folder}/files
Alias /chunked {folder}/files
Alias /put {folder}/uploads
Alias /small {folder}/uploads
DocumentRoot {folder}/files
<Location /gzip>
  SetOutputFilter DEFLATE
</Location>
<Location /chunked>
  Options +Includes
  EnableMMAP Off
  SetOutputFilter INCLUDES
</Location>
<Location /put>
  Dav On
</Location>
<Location /small>
  Dav On
  LimitRequestBody 1048576
</Location>
<Location /reflect>
  SetHandler reflector
</Location>
<VirtualHost {HOST}:{port}>
</VirtualHost>
<VirtualHost {HOST}:{short}>
  KeepAliveTimeout {IDLE_MS}ms
  CustomLog {folder}/connections connections
</VirtualHost>
"""
    with apache(folder, config, _APACHE_MODULES, [port, short]) as program:
        yield Origin("apache.test", "apache-short.test", port, folder, program)
