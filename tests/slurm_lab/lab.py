"""A throw-away Slurm on one host, in which every node is a machine of its own: network, host name, processes, /tmp,
/dev/shm. Needs root, namespaces and ``apt-get install --no-install-recommends slurm-wlm munge iproute2``.

Nothing outside the lab's folder is written and the host's network is not touched: the machines hang on a bridge in a
namespace of its own. ``python -m tests.slurm_lab.lab`` starts one to play with.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

NET = "10.87.0"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "ip", "nsenter", "unshare")
ROOT = Path(__file__).parents[2]
NAMESPACES = ("--net", "--uts", "--pid", "--ipc", "--mount")
SBIN = "/usr/sbin:/sbin"
HOPE_S = 3.0  # while something is waited for, between two looks at whether it can still come

BOOT = """
set -e
hostname "$1"
ip link set lo up
mount --bind "$2/hosts" /etc/hosts
mount -t tmpfs -o size="$3" tmpfs /dev/shm
mkdir -p "$2/tmp/$1" && chmod 1777 "$2/tmp/$1"
mount --bind "$4" "$2/repository"
mount --bind "$5" "$2/python"
case "$6" in /root/*)  # a Python of root's own: let others use it
    mount --bind "$6" "$2/base"
    mount -t tmpfs -o mode=755 tmpfs /root
    mkdir -p "$6"
    mount --bind "$2/base" "$6" ;;
esac
mount --rbind "$2/tmp/$1" /tmp
touch "$2/up-$1"
trap 'exit 0' TERM
while :; do sleep 3600 & wait $!; done
"""

CONF = """
ClusterName=lab
SlurmctldHost=login({net}.10)
SlurmctldPort=6817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/sock
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=1
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
ReturnToService=2
KillWait=30
MinJobAge=3600
SlurmctldTimeout=30
SlurmdTimeout={patience_s}
JobRequeue=1
DefMemPerCPU=1000
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/state/slurmctld.pid
SlurmdPidFile={folder}/spool/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
"""


@dataclass(frozen=True)
class Machine:
    """A node: ``cpus`` and ``gpus`` are what Slurm is told, ``shm`` the size of its /dev/shm."""

    name: str
    cpus: int = 2
    gpus: int = 0
    shm: str = "2g"


def missing() -> str:
    """Why no lab can run here; empty if one can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a Slurm lab needs Linux and root"
    absent = [p for p in PROGRAMS if not shutil.which(p, path=f"{os.environ.get('PATH', '')}:{SBIN}")]
    if absent:
        return f"a Slurm lab needs {', '.join(absent)} (apt-get install slurm-wlm munge iproute2)"
    probe = subprocess.run(["unshare", *NAMESPACES, "--fork", "true"], capture_output=True, text=True, check=False)
    return f"no namespaces here: {probe.stderr.strip()}" if probe.returncode else ""


class Lab:
    """Slurm on these machines and a ``login`` one. Use as a context manager.

    Args:
        machines: The nodes.
        patience_s: How long a node may be silent before Slurm takes it from its jobs.

    Attributes:
        folder: All of the lab.
        shared: A folder all machines and users see.
    """

    def __init__(self, machines: Sequence[Machine], patience_s: int = 20) -> None:
        self._patience_s = patience_s
        self.machines = {m.name: m for m in machines}
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-lab-", dir="/var/tmp"))
        self.shared = self.folder / "shared"
        self._outer: dict[str, subprocess.Popen[bytes]] = {}
        self._init: dict[str, int] = {}
        self._address = {name: f"{NET}.{10 + k}" for k, name in enumerate(["login", *self.machines])}

    def __enter__(self) -> Lab:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def command(self, machine: str, *words: str | Path, user: str = "", cwd: Path | None = None) -> list[str]:
        """What to run on the host so that ``words`` run on a machine."""
        enter = ["nsenter", "-t", str(self._init[machine]), "-n", "-u", "-p", "-i", "-m", f"--wd={cwd or self.shared}"]
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        return [*enter, "--", *become, *map(str, words)]

    def run(self, machine: str, *words: str | Path, user: str = "", cwd: Path | None = None, check: bool = True,
            timeout: float = 60.0) -> str:
        """Run a command on a machine; its output.

        Raises:
            AssertionError: It failed, and ``check`` is set.
        """
        done = subprocess.run(self.command(machine, *words, user=user, cwd=cwd), env=self.environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False)
        assert not (check and done.returncode), f"{words} on {machine}: {done.returncode}\n{done.stdout}"
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        """Of whoever works in the lab: its Slurm, and the Python that runs the tests."""
        return {"PATH": f"{self.folder}/python/bin:/usr/local/bin:/usr/bin:/bin:{SBIN}", "LANG": "C.UTF-8",
                "SLURM_CONF": str(self.folder / "slurm.conf"), "HOME": str(self.shared),
                "PYTHONPATH": str(self.repository), "PYTHONDONTWRITEBYTECODE": "1"}

    @property
    def repository(self) -> Path:
        """The project as all machines and users see it."""
        return self.folder / "repository"

    def processes(self, machine: str) -> dict[int, str]:
        """What runs on a machine besides Slurm and the machine itself: pid to command line."""
        listed = self.run(machine, "ps", "-eo", "pid=,stat=,args=").splitlines()
        found = {int(pid): args for pid, stat, args in (line.split(maxsplit=2) for line in listed) if stat[0] != "Z"}
        ours = ("bash -c", "sleep 3600", "slurmd ", "slurmctld ", "munged ", "ps -eo", "/usr/sbin/slurm")
        return {pid: args for pid, args in found.items() if pid != 1 and not args.startswith(ours)}

    def kill(self, machine: str) -> None:
        """Switch a machine off: nothing on it gets a word in, nobody is told."""
        os.kill(self._init.pop(machine), signal.SIGKILL)
        self._outer.pop(machine).wait(10)
        (self.folder / f"up-{machine}").unlink(missing_ok=True)

    def boot(self, machine: str) -> None:
        """Switch a machine on, with what its /tmp held, and nothing of what Slurm had there."""
        shutil.rmtree(self.folder / "spool" / machine)
        (self.folder / "spool" / machine).mkdir()
        self._boot(machine)
        self._slurmd(machine)

    def cut(self, machine: str) -> None:
        """Pull its network cable."""
        self._in_switch("ip", "link", "set", f"v-{machine}", "down")

    def heal(self, machine: str) -> None:
        """Plug it in again."""
        self._in_switch("ip", "link", "set", f"v-{machine}", "up")

    def stop(self) -> None:
        """End everything on all machines, and remove the lab."""
        for pid in self._init.values():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for process in self._outer.values():
            process.wait(10)
        self._init.clear()
        self._outer.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- how

    def _start(self) -> None:
        self.folder.chmod(0o755)
        for name in ("state", "spool", "munge", "shared", "tmp", "repository", "python", "base"):
            (self.folder / name).mkdir()
            (self.folder / name).chmod(0o755)
        self.shared.chmod(0o1777)
        hosts = "".join(f"{address} {name}\n" for name, address in self._address.items())
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        self._configure()
        self._outer["switch"] = subprocess.Popen(["unshare", "--net", "--fork", "--kill-child", "sleep", "infinity"],
                                                  stderr=subprocess.DEVNULL)
        self._init["switch"] = self._first_child("switch")
        self._in_switch("ip", "link", "add", "br0", "type", "bridge")
        self._in_switch("ip", "link", "set", "br0", "up")
        for name in self._address:
            self._boot(name)
        munge = self.folder / "munge"
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o600)
        self.run("login", "munged", "--force", f"--key-file={munge}/key", f"--socket={munge}/sock",
                 f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed")
        self.run("login", "slurmctld", "-f", self.folder / "slurm.conf")
        for name in self.machines:
            (self.folder / "spool" / name).mkdir()
            self._slurmd(name)
        self.wait_until_idle()

    def wait_until_idle(self, *machines: str) -> None:
        """Wait until nodes are up and free; all of them by default.

        Raises:
            AssertionError: They are not.
        """
        names = machines or list(self.machines)
        self.wait_until(lambda: len(self.run("login", "sinfo", "-h", "-N", "-n", ",".join(names), "-t", "idle", "-o", "%n").split())
                        == len(names), lambda: self.run("login", "sinfo"), 60)

    @staticmethod
    def wait_until(condition: Callable[[], object], what: str | Callable[[], str], within_s: float,
                   hopeless: Callable[[], str] = str) -> None:
        """Wait for something.

        Args:
            condition: What is waited for.
            what: It, in words, for those who waited in vain.
            within_s: Seconds.
            hopeless: Why it will never come, asked now and then; empty while it may.

        Raises:
            AssertionError: In vain.
        """
        began = asked = time.monotonic()
        while not condition():
            now, why = time.monotonic(), ""
            if now - asked > HOPE_S:
                asked, why = now, hopeless()
            if now - began > within_s or (why and not condition()):
                raise AssertionError(f"{why or 'in vain'}; waited {now - began:.0f} s for {what if isinstance(what, str) else what()}")
            time.sleep(0.3)  # a look takes a few programs, and the machines share our processors

    def _configure(self) -> None:
        nodes = [f"NodeName={m.name} CPUs={m.cpus} RealMemory=4000" + (f" Gres=gpu:{m.gpus}" if m.gpus else "")
                 for m in self.machines.values()]
        partition = f"PartitionName=all Nodes={','.join(self.machines)} Default=YES MaxTime=INFINITE State=UP"
        head = CONF.format(net=NET, folder=self.folder, patience_s=self._patience_s)
        (self.folder / "slurm.conf").write_text("\n".join([head, *nodes, partition, ""]))
        gres = [f"NodeName={m.name} Name=gpu Count={m.gpus} File=/dev/null" for m in self.machines.values() if m.gpus]
        (self.folder / "gres.conf").write_text("\n".join([*gres, ""]))

    def _boot(self, name: str) -> None:
        shm = self.machines[name].shm if name in self.machines else "64m"
        (self.folder / f"up-{name}").unlink(missing_ok=True)
        self._outer[name] = subprocess.Popen(
            ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", "bash", "-c", BOOT, "boot", name,
             str(self.folder), shm, str(ROOT), sys.prefix, sys.base_prefix],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._init[name] = self._first_child(name)
        self.wait_until((self.folder / f"up-{name}").exists, f"machine {name}", 10)
        pid = str(self._init[name])
        self._in_switch("ip", "link", "add", f"v-{name}", "type", "veth", "peer", "name", "eth0", "netns", pid)
        self._in_switch("ip", "link", "set", f"v-{name}", "master", "br0", "up")
        for words in (("addr", "add", f"{self._address[name]}/24", "dev", "eth0"), ("link", "set", "eth0", "up"),
                      ("route", "add", "default", "via", f"{NET}.1")):
            subprocess.run(["nsenter", "-t", pid, "-n", "ip", *words], check=True)

    def _slurmd(self, name: str) -> None:
        self.run(name, "slurmd", "-f", self.folder / "slurm.conf", "-N", name)

    def _in_switch(self, *words: str) -> None:
        subprocess.run(["nsenter", "-t", str(self._init["switch"]), "-n", *words], check=True)

    def _first_child(self, name: str) -> int:
        children = Path(f"/proc/{self._outer[name].pid}/task/{self._outer[name].pid}/children")
        self.wait_until(lambda: children.read_text().split(), f"the first process of {name}", 10)
        return int(children.read_text().split()[0])


if __name__ == "__main__":
    with Lab([Machine(f"n{k}") for k in range(1, 4)]) as lab:
        print("a shell on the login machine; 'exit' ends the lab. Other machines:", *lab.machines)
        subprocess.run(lab.command("login", "bash"), env=lab.environment, check=False)
