"""Texts by hand, by type: what is private in them stands between ⟦ and ⟧; texts without marks hold nothing.

Secrets are drawn at run time: none that a scanner of this repository would find stands here.
"""

import base64
import random
import string

_draw = random.Random(7)
HEX, BASE62, BASE32 = string.hexdigits[:16], string.ascii_letters + string.digits, string.ascii_uppercase + "234567"


def drawn(alphabet: str, length: int) -> str:
    return "".join(_draw.choice(alphabet) for _ in range(length))


KEY_LINES = [base64.b64encode(_draw.randbytes(48)).decode() for _ in range(12)]
PRIVATE_KEY = "\n".join(["-----BEGIN RSA PRIVATE KEY-----", *KEY_LINES, "Ab3=", "-----END RSA PRIVATE KEY-----"])
KEY_IN_A_STRING = PRIVATE_KEY.replace("\n", "\\n")
JWT = f"eyJ{drawn(BASE62, 20)}.eyJ{drawn(BASE62, 60)}.{drawn(BASE62, 43)}"

EMAILS = [
    "Write to ⟦jane.doe@university.edu⟧.",
    "<a href='mailto:⟦info+list@firma.de⟧'>",
    "(⟦O'Brien_77%x@mail.co.uk⟧), or call",
    "Jörg: ⟦jörg.müller@web.de⟧",
    "邮箱：⟦zhang@qq.com⟧。电话",
    "联系⟦zhang@qq.com⟧请",
    "https://shop.org/reset?email=⟦kim@mail.ru⟧&token=1",
    "Surukam, Chennai ⟦{harsha,raveena}@surukam.com⟧",
    "From: ⟦a@b.info⟧, ⟦c@d.info⟧;⟦e@f.info⟧",
    "пишите: ⟦иван@почта.рф⟧",
    "user@example.com, someone@mail.example.org, x@host.local, root@localhost",
    "git clone git@github.com:owner/name.git",
    "background: url(icon@2x.png); logo@3x.jpeg",
    "A@B.T + weights@inputs.mean(axis=0)",
    "@decorator.method and C3PO@, meet me @home",
    "price: 5@3.50",
    "@article{smith2019, title={On x@y}}",
]
PHONES = [
    "Tel.: ⟦+49 561 9804848⟧",
    "faksem: ⟦+48 89 742 14 05⟧ lub",
    "fax ⟦+1 (212) 736-5000⟧.",
    "call ⟦212-736-5000⟧ now",
    "Hotel (⟦(612) 439-4474⟧), rooms",
    "Phone: ⟦2127365000⟧",
    "⟦212.736.5000⟧",
    "Telephone ⟦020 7946 0018⟧ or visit",
    "ring us on ⟦0161 496 0000⟧",
    "tel:⟦+31-641044153⟧",
    "The call lasted 2127365 seconds; order 2127365000 of 2019-03-04",
    "ISBN 978-3-16-148410-0, ISBN-10 0-19-852663-6, ISSN 0317-8471",
    "arXiv:1701.00123v2, arXiv 0704.0001, doi:10.1038/nphys1170, 10.1000/182",
    "BMC Bioinforma. 2006, 7: 3-10.1186/1471-2105-7-3; 35: 77-84. 10.1021/ci00023a011",
    "550e8400-e29b-41d4-a716-446655440000 d41d8cd98f00b204e9800998ecf8427e",
    "2019.05.03 20:49 | 2019-05-03T20:49:12.123456 | 1556916552 | 03/05/2019 | 03.05.2019 12:30",
    "1 245 300 000 people, 212 736 5000 votes, 4.5% of 020 123",
    "  28.6    78.6    959.5  1,115.0    167.1   167.1 ",
    "430.50/432.65 to the mark, 115-122, -2147483648..2147483647",
    "z +6073641856.9 and Decimal('+35236450.6')",
    "28980 - 18480 = <<28980-18480=10500>>",
    "0123 4567 8901 2345 6789",
    "SKU 212-736-5000-17, part 0-212-736-5000, id_212-736-5000",
    "x = 0x20 7946; y[0161:4960]; range(0, 1614960000)",
    "§ 1395ww-4, 42 U.S.C. 300aa-26, Pub. L. 111-148, 124 Stat. 119-1024",
]
IPS = [
    "Failed login from ⟦82.44.254.62⟧ port 22",
    "http://⟦140.116.247.185⟧/~research/",
    "IP ⟦3.129.133.68⟧:3001 and ⟦13.113.145.47⟧.",
    "server at ⟦5.9.12.3⟧",
    "⟦2606:4700:4700::1111⟧, [⟦2a00:1450:4001:81b::200e⟧]:443",
    "via ⟦2001:658:22a:cafe:200:0:0:1⟧: unreachable",
    "192.168.0.10 10.0.0.1 172.16.5.4 127.0.0.1 0.0.0.0 255.255.255.0 169.254.1.1",
    "192.0.2.1 198.51.100.7 203.0.113.9 2001:db8::1 fe80::1 ::1 fc00::12",
    "Version 1.2.3.4, v10.20.30.40, numpy 1.26.4.0, release 4.18.0.193",
    "Chrome/51.0.27.103 Firefox/3.0.0.11",
    "see Section 3.2.14.2 and 7.1.4.34 in table 12.1.3.4",
    "1.3.6.1.4.1.311.2 and 1.2.840.113549.1.1.11 (OIDs)",
    "01.02.2003.04 and 300.1.2.3",
    "std::vector<a::b> face::add dead::beef x[::2] 12:30:45 aa:bb:cc:dd:ee:ff",
    "20:01:db:08:85:a3:11:22 SHA1 fingerprint 20:01:0d:b8:85:a3:00:00:00:00:8a:2e:03:70:73:34",
]
CARDS = [
    "card ⟦4111 1111 1111 1111⟧ exp 12/29",
    "⟦5555-5555-5555-4444⟧",
    "⟦378282246310005⟧ and ⟦3782 822463 10005⟧",
    "pay with ⟦6011111111111117⟧,",
    "card = ⟦4012888888881881⟧",
    "order 4111 1111 1111 1112",
    "1234567812345670 is no issuer's",
    "0000 0000 0000 0000",
    "4111 1111 1111 1111 2222 3333",
    "0.4111111111111111 and 4111111111111111.5 and x4111111111111111",
    "https://site.com/photos/4012888888881881/",
    "watch?id=4012888888881881",
    "1556916552123456 ns, 20190503204912",
]
IBANS = [
    "IBAN: ⟦DE89 3704 0044 0532 0130 00⟧",
    "⟦GB29NWBK60161331926819⟧.",
    "Konto ⟦FR14 2004 1010 0505 0001 3M02 606⟧ bei",
    "⟦NO93 8601 1117 947⟧",
    "DE89 3704 0044 0532 0130 01",
    "XX89370400440532013000 and DE8937040044053201300",
    "DE89 37 0400440532 013000",
    "PM10 AND CO2 ISO8601 US2019 UTF16LE",
]
SECRETS = [
    f"aws_access_key_id = ⟦AKIA{drawn(BASE32, 16)}⟧",
    f"aws_secret_access_key = ⟦{drawn(BASE62, 18)}/{drawn(BASE62, 21)}⟧",
    f"git clone https://⟦ghp_{drawn(BASE62, 36)}⟧ here",
    f"GITLAB=⟦glpat-{drawn(BASE62, 20)}⟧;",
    f"⟦xoxb-{drawn(string.digits, 12)}-{drawn(string.digits, 12)}-{drawn(BASE62, 24)}⟧",
    f"stripe.api_key = '⟦sk_live_{drawn(BASE62, 24)}⟧'",
    f"key: ⟦AIza{drawn(BASE62, 35)}⟧",
    f"OPENAI_API_KEY=⟦sk-proj-{drawn(BASE62, 48)}⟧",
    f"login(token='⟦hf_{drawn(string.ascii_letters, 34)}⟧')",
    f"Authorization: Bearer ⟦{JWT}⟧",
    f'{{"api_key": "⟦{drawn(HEX, 32)}⟧"}}',
    f"curl --token ⟦{drawn(BASE62, 32)}⟧ host",
    f"postgres://admin:⟦{drawn(BASE62, 10)}⟧@db.internal/x",
    f"https://hooks.slack.com/services/⟦T{drawn(BASE32, 8)}/B{drawn(BASE32, 8)}/{drawn(BASE62, 24)}⟧",
    f"⟦{PRIVATE_KEY}⟧\nnext",
    f'KEY = "⟦{KEY_IN_A_STRING}⟧"',
    "api_key = 'YOUR_API_KEY_GOES_HERE'; token = AKIAXXXXXXXXXXXXXXXX",
    "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "password = get_password_from_vault_2(user)",
    "secret_key = settings.SECRET_KEY_V2_FALLBACK",
    "Auth = AbstractBasicAuthHandlerWithPriorAuth2",
    f"commit {drawn(HEX, 40)}, sha256: {drawn(HEX, 64)}",
    f'"public_key": "{drawn(HEX, 64)}", keyHash = "{drawn(HEX, 56)}"',
    "if line == '-----BEGIN RSA PRIVATE KEY-----': return '-----END RSA PRIVATE KEY-----'",
    "-----BEGIN CERTIFICATE-----\n" + "\n".join(KEY_LINES) + "\n-----END CERTIFICATE-----",
    "ftp://user:password@host.org and http://$USER:$PASS@host.org",
    "the state-of-the-art-2019-token-classification-model-v2",
    "primary_key = 'customer_order_2019_line_item_17'",
]
EXAMPLES = {
    "email": EMAILS, "phone": PHONES, "ip_address": IPS, "credit_card": CARDS, "iban": IBANS, "secret": SECRETS,
}  # fmt: skip
