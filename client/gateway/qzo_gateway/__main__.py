"""qzo-gateway: flags, and a server around the application."""

from __future__ import annotations

import argparse
import os
import sys

import uvicorn

from qzo._dial import is_loopback
from qzo_gateway.app import make_app


def main() -> int:
    parser = argparse.ArgumentParser(prog="qzo-gateway", description=__doc__)
    parser.add_argument("--listen", default=os.environ.get("QZO_GATEWAY_LISTEN", "127.0.0.1:7090"), help="host:port")
    parser.add_argument("--server", default=os.environ.get("QZO_SERVER", "127.0.0.1:7070"), help="the QZO server, host:port")
    parser.add_argument("--project", default=os.environ.get("QZO_PROJECT", "default"), help="where OpenAI-Project names none")
    parser.add_argument("--server-tls-ca", help="authorities of the QZO server's certificate; else the system's")
    parser.add_argument("--tls-cert", help="certificate of this gateway: serve https")
    parser.add_argument("--tls-key", help="key of that certificate")
    parser.add_argument("--insecure", action="store_true", help="allow clear text beyond this machine, on both sides")
    flags = parser.parse_args()
    host, _, port = flags.listen.rpartition(":")
    if not (flags.insecure or flags.tls_cert or is_loopback(flags.listen)):
        print(
            f"qzo-gateway: refusing to listen on {flags.listen} in clear text: tokens would travel with it; "
            "pass --tls-cert and --tls-key, or --insecure on a network that you trust",
            file=sys.stderr,
        )
        return 2
    # Never a token of its own, which would open the server to everyone: token_file stays out, and so does its variable.
    os.environ.pop("QZO_TOKEN_FILE", None)
    app = make_app(
        server=flags.server, project=flags.project, tls_ca=flags.server_tls_ca, insecure=flags.insecure or None
    )
    tls = {"ssl_certfile": flags.tls_cert, "ssl_keyfile": flags.tls_key}
    uvicorn.run(app, host=host.strip("[]"), port=int(port), access_log=False, **tls)
    return 0


if __name__ == "__main__":
    sys.exit(main())
