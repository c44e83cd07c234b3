#!/usr/bin/env python3
"""Secrets are planted wherever a support bundle looks; none of them may be in it, in any form."""

import base64
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from redact import Redactor  # noqa: E402

PLANTED = {
    "DB_PASSWORD": "h0rse/battery+staple=1",
    "GITHUB_TOKEN": "ghp_0123456789abcdefghijABCDEFGHIJ0123",
    "ODD_NAME": "only-in-dot-env-9f1c",
    "DATABASE_URL": "postgres://django:ur1-p4ssw0rd@db:5432/x",
}
# What nobody has declared, but looks like what it is.
BY_LOOKS = [
    "password: plain-l00king",
    '{"api_key": "json-l00king-1"}',
    "https://user:url-l00king@example.org/path",
    "Authorization: Bearer header-l00king",
    "mysqldump -u root -poption-l00king db",
    "ALTER ROLE x PASSWORD 'sql-l00king'",
    "AKIAL00KING012345678",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIl00king\nl00king==\n-----END RSA PRIVATE KEY-----",
]


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="test-incident-")
        self.addCleanup(shutil.rmtree, self.folder)

    def plant(self, name, text):
        path = f"{self.folder}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)

    def collect(self, *arguments, **env):
        argv = [f"{HERE}/collect.py", *arguments]
        done = subprocess.run(argv, cwd=self.folder, env={**os.environ, **env}, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def bundle(self):
        with tarfile.open(f"{self.folder}/out/incident.tar.gz") as archive:
            return {member.name: archive.extractfile(member).read().decode() for member in archive}

    def test_no_planted_secret_is_in_the_bundle(self):
        self.plant(".env", "# local\nexport ODD_NAME='only-in-dot-env-9f1c'\nEMPTY=\n")
        forms = []
        for value in PLANTED.values():
            encoded = [base64.b64encode(b"x" * n + value.encode()).decode() for n in range(3)]
            forms += [value, urllib.parse.quote(value, safe=""), value.encode().hex(), *encoded]
        self.plant(".iact/log/aa", "begin\n" + "\n".join(f"using {form} now" for form in forms) + "\nend\n")
        self.plant(".iact/services/db.log", "\n".join(BY_LOOKS))
        self.plant(".iact/log/only-in-dot-env-9f1c", "a name")
        self.plant("Iactfile.toml", '[vars]\ndb_password = "toml-l00king"\nharmless = "stays-readable"\n')
        long = "filler line\n" * 30000 + "cut here: h0rse/battery+staple=1\n" + "x" * 10
        self.plant(".iact/log/long", long)
        code, said = self.collect("out/incident.tar.gz", "deployment_failure", "high", **PLANTED)
        self.assertEqual(code, 0, said)
        found = self.bundle()
        everything = "\n".join([said, *found, *found.values()])
        for value in (*PLANTED.values(), "ur1-p4ssw0rd", "l00king", "L00KING"):
            self.assertFalse(value in everything, f"{value} is in the bundle")
        for form in forms:
            # The first letters of base64 hold the neighbour's.
            self.assertFalse(form[4:-4] in everything, f"{form} is in the bundle")
        for kept in ("begin", "end", "stays-readable", "iact build rollback", "DB_PASSWORD", "https://***@example.org"):
            self.assertTrue(kept in everything, f"{kept} is missing")
        self.assertEqual(os.stat(f"{self.folder}/out/incident.tar.gz").st_mode & 0o777, 0o600)

    def test_what_is_wrong_is_said(self):
        self.assertEqual(self.collect("out.tar.gz", "weather", "high")[0], 2)
        self.assertEqual(self.collect("out.tar.gz", "unknown", "extreme")[0], 2)
        self.plant("file", "")
        code, said = self.collect("file/out.tar.gz", "unknown", "low")
        self.assertEqual((code, "Traceback" in said), (1, False), said)
        self.assertIn("cannot write", said)
        # Nothing to collect is no failure.
        self.assertEqual(self.collect("out/incident.tar.gz", "unknown", "low")[0], 0)
        self.assertIn("Iactfile.toml: No such file", self.bundle()["incident/SUMMARY.md"])

    def test_masking_goes_on_until_nothing_is_found(self):
        masks = Redactor({"secret-1", "secret-1-longer"})
        text = masks.mask("secret-1 secret-1-longer SECRET-1 " + base64.b64encode(b"secret-1-longer").decode())
        self.assertFalse(masks.finds(text) or "longer" in text, text)
        self.assertEqual(Redactor(set()).mask("nothing here"), "nothing here")


if __name__ == "__main__":
    unittest.main(verbosity=2)
