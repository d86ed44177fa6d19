"""A log by other hands asks our witness: it grows, forks, and is rolled back.

    feed_witness.py URL WITNESS_VKEY SEED_HEX [vkey|feed]

Prints the log's vkey, or one word for each thing that was tried.
"""

import sys

from aics_tlog import (
    Checkpoint,
    MerkleTree,
    format_vkey,
    sign_checkpoint,
    vkey_from_ed25519,
)
from aics_witness.feeder import WitnessAhead, WitnessClient, WitnessRejected
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ORIGIN = "peer.example/log"
url, witness, seed, what = sys.argv[1:]
key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))


def tree_of(size, word):
    return MerkleTree([b"%s %d" % (word if i >= 5 else b"entry", i) for i in range(size)])


def submit(size, word=b"entry"):
    tree = tree_of(size, word)
    note = sign_checkpoint(Checkpoint(ORIGIN, size, tree.root()), key, ORIGIN)
    client = WitnessClient(url, witness, max_attempts=1)
    try:
        # verifies the cosignature with the witness's key, and its time
        client.submit(note.to_bytes(), lambda old, new: tree.consistency_proof(old, new))
        return "cosigned"
    except WitnessAhead:
        return "behind"
    except WitnessRejected as refused:
        return str(refused.status)
    finally:
        client.close()


if what == "vkey":
    print(format_vkey(vkey_from_ed25519(ORIGIN, key.public_key())))
else:
    print(submit(3), submit(7), submit(7), submit(5), submit(9, b"fork"), submit(7, b"fork"),
          submit(9))
