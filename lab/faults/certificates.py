"""A certificate authority of the lab and what its servers show. Runs openssl."""

import base64
import hashlib
import os
import subprocess

from lab.faults.message import SERVER_ADDRESS, SERVER_NAME
from lab.net import LabError

_CA = """[ca]
default_ca = lab
[lab]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
"""


def make(folder):
    """Makes them in a new folder: ca.pem, and for each server NAME.pem and NAME.key."""
    os.mkdir(folder)
    _authority(folder, "ca")
    _authority(folder, "stranger")
    for name in ("index", "serial"):
        with open(os.path.join(folder, name), "w", encoding="ascii") as file:
            file.write("01\n" if name == "serial" else "")
    with open(os.path.join(folder, "ca.conf"), "w", encoding="ascii") as file:
        file.write(_CA.format(folder=folder))
    right = f"DNS:{SERVER_NAME},IP:{SERVER_ADDRESS}"
    _issue(folder, "good", right)
    _issue(folder, "wrong_name", "DNS:elsewhere.example,IP:192.0.2.1")
    _issue(folder, "expired", right, span=("20200101000000Z", "20210101000000Z"))
    _issue(folder, "early", right, span=("20990101000000Z", "20991231000000Z"))
    _issue(folder, "untrusted", right, authority="stranger")


def pin(folder, name):
    """The pin of a server's key, as UCI has it (RFC 7858, 4.2)."""
    key = _openssl(folder, "pkey", "-in", f"{name}.key", "-pubout", "-outform", "DER")
    return "sha256/" + base64.b64encode(hashlib.sha256(key).digest()).decode()


def _authority(folder, name):
    _openssl(folder, "req", "-x509", *_new_key(name), "-out", f"{name}.pem", "-days", "3650",
             "-subj", f"/CN=dae lab {name}", "-addext", "keyUsage=critical,keyCertSign")


def _issue(folder, name, names, authority="ca",
           span=("20200101000000Z", "20991231000000Z")):
    _openssl(folder, "req", *_new_key(name), "-out", f"{name}.csr", "-subj", f"/CN={name}",
             "-addext", f"subjectAltName={names}")
    _openssl(folder, "ca", "-batch", "-config", "ca.conf", "-cert", f"{authority}.pem",
             "-keyfile", f"{authority}.key", "-in", f"{name}.csr", "-out", f"{name}.pem",
             "-startdate", span[0], "-enddate", span[1], "-notext")


def _new_key(name):
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{name}.key")


def _openssl(folder, *argv):
    done = subprocess.run(["openssl", *argv], cwd=folder, capture_output=True)
    if done.returncode != 0:
        raise LabError(f"openssl {argv[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
