"""A real SMTP server for the scenarios of kmonitor's mails.

Takes mails on 127.0.0.1 and writes each, as it came, into a file of a directory; what it answers names the file. It ends with
its standard input, so that it never outlives the test that started it.

    server.py PORT DIRECTORY [--tls starttls|tls --certificate PEM --key PEM] [--account NAME:PASSWORD] [--busy N]
"""

import argparse
import pathlib
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword


class Box:
    """Keeps every mail; the first `busy` are refused for the moment."""

    def __init__(self, directory, busy):
        self.directory = pathlib.Path(directory)
        self.busy = busy
        self.count = 0

    async def handle_DATA(self, server, session, envelope):
        if self.busy > 0:
            self.busy -= 1
            return "451 4.3.0 busy, come again"
        self.count += 1
        name = f"mail-{self.count}"
        head = f"X-From: {envelope.mail_from}\nX-To: {','.join(envelope.rcpt_tos)}\nX-Account: {session.auth_data}\n"
        # Written whole before it can be seen.
        written = self.directory / f".{name}"
        written.write_bytes(head.encode() + envelope.original_content)
        written.rename(self.directory / name)
        return f"250 2.0.0 Ok: queued as {name}"


def authenticator(account):
    name, password = account.encode().split(b":", 1)

    def authenticate(server, session, envelope, mechanism, data):
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (name, password)
        return AuthResult(success=good, handled=False, auth_data=account.split(":", 1)[0] if good else None)

    return authenticate


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("directory")
    parser.add_argument("--tls", choices=["starttls", "tls"])
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--account")
    parser.add_argument("--busy", type=int, default=0)
    wanted = parser.parse_args()
    options = {}
    if wanted.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(wanted.certificate, wanted.key)
        if wanted.tls == "starttls":
            options.update(tls_context=context, require_starttls=True)
        else:
            options.update(ssl_context=context)
    if wanted.account:
        options.update(authenticator=authenticator(wanted.account), auth_required=True)
        options.update(auth_require_tls=wanted.tls != "tls")
    box = Box(wanted.directory, wanted.busy)
    controller = Controller(box, hostname="127.0.0.1", port=wanted.port, **options)
    controller.start()
    print("ready", flush=True)
    sys.stdin.read()
    controller.stop()


main()
