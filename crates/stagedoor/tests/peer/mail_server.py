"""A mail server that we did not write (aiosmtpd), with STARTTLS and AUTH, and moods: an address that
begins with `later` is put off once, `never` is refused for good, `silent` gets no answer at all.

    python3 mail_server.py CERTIFICATE KEY USER PASSWORD

Prints `listening PORT`, then a line of JSON for each letter and for each mood that it had.
"""
import asyncio
import email
import email.policy
import json
import socket
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

certificate, key, user, password = sys.argv[1:]
put_off = set()


def tell(**words):
    print(json.dumps(words), flush=True)


class Moods:
    async def handle_RCPT(self, server, session, envelope, address, options):
        mood = address.split("@")[0].split("-")[0]
        if mood == "later" and address not in put_off:
            put_off.add(address)
            tell(mood="later", to=address)
            return "451 4.7.1 greylisted, come back"
        if mood == "never":
            tell(mood="never", to=address)
            return "550 5.1.1 no such mailbox: " + address
        if mood == "silent":
            tell(mood="silent", to=address)
            await asyncio.sleep(60)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        letter = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        parts = {part.get_content_type(): part for part in letter.walk()}
        tell(
            to=envelope.rcpt_tos,
            sender=envelope.mail_from,
            user=session.auth_data.decode(),
            tls=session.ssl["cipher"][1],
            header_to=str(letter["to"]),
            header_from=str(letter["from"]),
            subject=str(letter["subject"]),
            message_id=str(letter["message-id"]),
            date=letter["date"].datetime.timestamp(),
            type=letter.get_content_type(),
            text=parts["text/plain"].get_content(),
            html=parts["text/html"].get_content(),
            longest=max(map(len, envelope.original_content.split(b"\r\n"))),
            defects=[str(d) for part in letter.walk() for d in part.defects]
            + [str(d) for header in letter.values() for d in header.defects],
        )
        return "250 taken"


def judge(server, session, envelope, mechanism, data):
    right = data.login == user.encode() and data.password == password.encode()
    return AuthResult(success=right, handled=False, auth_data=data.login)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
controller = Controller(
    Moods(),
    hostname="127.0.0.1",
    port=port,
    tls_context=context,
    require_starttls=True,
    auth_required=True,
    auth_require_tls=True,
    authenticator=judge,
)
controller.start()
print("listening", port, flush=True)
# until the test goes away
sys.stdin.read()
controller.stop()
