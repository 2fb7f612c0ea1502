"""kind's node image where no registry has it: from Go modules and Debian packages, as `kind build node-image` would lay it out.

It differs from kindest/node in containerd and runc, which are Debian's; in the network daemon, a stand-in that enforces no
NetworkPolicy; and in `crictl`, a stand-in for the calls that kind makes. One container image under several names holds etcd, the
control plane and kube-proxy.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.harness import addons, archive, debian, kept, programs
from tests.e2e.harness.kept import CannotMakeError
from tests.e2e.harness.programs import KUBERNETES, NODE

NAME = f"localhost/kindest-node:v{KUBERNETES}"
#: containerd 1.6 is what this node's configuration is for.
SUITE = "bookworm"
PACKAGES = (
    "systemd", "conntrack", "iptables", "nftables", "iproute2", "ethtool", "util-linux", "mount", "kmod", "libseccomp2", "pigz",
    "bash", "ca-certificates", "curl", "jq", "procps", "socat", "busybox-static", "containerd", "runc",
    "containernetworking-plugins",
)  # fmt: skip
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Of the tools that kube-proxy and kindnetd run, with everything that they load.
TOOLS = ("usr/sbin/xtables-nft-multi", "usr/sbin/conntrack", "usr/sbin/nft", "usr/bin/ip", "usr/bin/kmod")
EXTENSIONS = "usr/lib/x86_64-linux-gnu/xtables"
#: Not read by anything on a node.
LEFT_OUT = (
    "var/lib/apt/lists", "var/cache/apt", "usr/share/doc", "usr/share/man", "usr/share/locale",
    "usr/bin/containerd-stress", "usr/bin/containerd-shim", "usr/bin/containerd-shim-runc-v1",
)  # fmt: skip


def key() -> str:
    """What decides what the image is."""
    ours = [Path(__file__), Path(addons.__file__), NODE / "crictl", NODE / "import-images.sh"]
    return kept.fingerprint(
        *(program.path.name for program in (programs.KIND, *programs.ON_NODES)), SUITE, *PACKAGES, *ours
    )


def have() -> Path:
    """Have the image's archive, built if need be: the first time, with a quarter of an hour of compiling."""
    return kept.have("kind-node", key(), _make)


def _make(made: Path, room: Path) -> None:
    root = room / "root"
    _unpack(debian.have("kind-rootfs", SUITE, PACKAGES), root)
    source = addons.kinds_source()
    addons.put_files(source, root)
    addons.set_up_systemd(root)
    _put_programs(root)
    images = room / "images"
    images.mkdir()
    _container_images(root, images, addons.put_manifests(source, root / "kind" / "manifests"))
    kept.say("putting container images into the node's containerd")
    _run("unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", NODE / "import-images.sh", root, images)
    for name in LEFT_OUT:
        _remove(root / name)
    for path in (root / "var/log").iterdir():
        _remove(path)
    layer = room / "layer.tar"
    _tar(root, layer)
    config = {
        "Env": [PATH, "container=docker"],
        "StopSignal": "SIGRTMIN+3",
        "Entrypoint": ["/usr/local/bin/entrypoint", "/sbin/init"],
    }
    archive.write(made, layer, config, [NAME])


def _put_programs(root: Path) -> None:
    for folder in ("etc/kubernetes/manifests", "opt/cni", "etc/cni/net.d", "var/lib/kubelet"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for path in (root / "etc/cni/net.d").iterdir():
        _remove(path)
    (root / "opt/cni/bin").symlink_to("/usr/lib/cni")
    for name in ("containerd", "ctr", "containerd-shim-runc-v2"):
        (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/{name}")
    (root / "usr/local/sbin/runc").symlink_to("/usr/sbin/runc")
    # Where CAP_SYS_RESOURCE is not to be had, runc fails if it has to lower a process's score for the kernel's OOM killer.
    config = root / "etc/containerd/config.toml"
    text = config.read_text()
    assert "restrict_oom_score_adj = false" in text
    config.write_text(text.replace("restrict_oom_score_adj = false", "restrict_oom_score_adj = true"))
    _install(programs.have(programs.COMPONENTS), root / "usr/bin/kube-node")
    for name in ("kubeadm", "kubelet", "kubectl"):
        (root / "usr/bin" / name).symlink_to("kube-node")
    _install(NODE / "crictl", root / "usr/local/bin/crictl")
    (root / "kind").mkdir(exist_ok=True)
    (root / "kind/version").write_text(f"v{KUBERNETES}")


def _container_images(root: Path, images: Path, addon_names: Sequence[str]) -> None:
    """Write the archives of all images that a node runs, under the names that kubeadm, kind and containerd's settings say."""
    kube, dns, pause, storage, helper = (images / name for name in ("kube", "dns", "pause", "storage", "helper"))
    _stage_tools(root, kube)
    components = programs.have(programs.COMPONENTS)
    _install(components, kube / "usr/local/bin/kube-node")
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd"):
        (kube / "usr/local/bin" / name).symlink_to("kube-node")
    # A program of its own: kind gives it 50 MiB and a tenth of a CPU, in which the big one does not fit.
    _install(programs.have(programs.KINDNETD), kube / "usr/local/bin/kindnetd")
    _install(programs.have(programs.COREDNS), dns / "coredns")
    _install(programs.have(programs.PAUSE), pause / "pause")
    _install(programs.have(programs.LOCAL_PATH), storage / "usr/local/bin/local-path-provisioner")
    _install(root / "bin/busybox", helper / "bin/busybox")
    for name in ("sh", "rm", "mkdir"):
        (helper / "bin" / name).symlink_to("busybox")

    listed = _run(
        components, "kubeadm", "config", "images", "list", "--kubernetes-version", f"v{KUBERNETES}", capture=True
    )
    names = [*listed.split(), *addon_names]
    sandbox = re.findall(r'sandbox_image = "(.*)"', (root / "etc/containerd/config.toml").read_text())

    def named(pattern: str) -> list[str]:
        found = [name for name in names if re.search(pattern, name)]
        assert found, f"no image is called {pattern}: {names}"
        return found

    env = {"Env": [PATH]}
    for tree, config, tags in (
        (kube, env, named(r"/(kube-[a-z-]+|etcd):")),
        (kube, {**env, "Entrypoint": ["/usr/local/bin/kindnetd"]}, named("/kindnetd:")),
        (dns, {"Entrypoint": ["/coredns"]}, named("/coredns:")),
        (pause, {"Entrypoint": ["/pause"]}, [*named("/pause:"), *sandbox]),
        (storage, env, named("/local-path-provisioner:")),
        (helper, env, named("/local-path-helper:")),
    ):
        layer = images / f"{tree.name}.tar"
        if not layer.exists():
            _tar(tree, layer)
        archive.write(images / f"{tags[0].rpartition('/')[2].partition(':')[0]}.image", layer, config, tags)


def _stage_tools(root: Path, tree: Path) -> None:
    """iptables and its like with every library that they or iptables' extensions load.

    An extension without its library makes each of kube-proxy's syncs fail as soon as a Service has two endpoints, while
    kube-proxy says that it is ready: so some of them are tried.
    """
    (tree / "usr/local/bin").mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):  # Debian has one tree
        (tree / "usr" / name).mkdir(exist_ok=True)
        (tree / name).symlink_to(f"usr/{name}")
    for name in ("run", "tmp", "etc"):
        (tree / name).mkdir()
    loaders = [f"/{name}" for name in TOOLS] + [
        f"/{path.relative_to(root)}" for path in (root / EXTENSIONS).glob("*.so")
    ]
    libraries = set(re.findall(r"/lib[^ :]*", _run("chroot", root, "ldd", *loaders, capture=True)))
    inner = {f"{_inside(root, Path(name).parent)}/{Path(name).name}" for name in libraries}
    wanted = [*TOOLS, EXTENSIONS, *inner, *(_inside(root, Path("/") / name) for name in inner)]
    _run("cp", "--archive", "--parents", *sorted({name.lstrip("/") for name in wanted}), tree, cwd=root)
    for name in ("iptables", "ip6tables"):
        for end in ("", "-save", "-restore"):
            (tree / "usr/sbin" / f"{name}{end}").symlink_to("xtables-nft-multi")
    (tree / "usr/sbin/modprobe").symlink_to("../bin/kmod")
    for extension in ("statistic", "addrtype", "conntrack", "comment", "mark"):
        _run("chroot", tree, "/usr/sbin/iptables", "-m", extension, "--help", capture=True)


def _inside(root: Path, path: Path) -> str:
    """Where a path leads in a file system that is not ours."""
    return _run("chroot", root, "realpath", path, capture=True).strip()


def _unpack(tar: Path, root: Path) -> None:
    root.mkdir()
    _run("tar", "--extract", "--preserve-permissions", "--file", tar, "--directory", root, "--exclude=./dev/*")


def _tar(root: Path, path: Path) -> None:
    """Sorted and without times: the same content gives the same layer."""
    _run("tar", "--create", "--sort=name", "--mtime=@0", "--numeric-owner", "--file", path, "--directory", root, ".")


def _install(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()


def _run(*command: str | Path, capture: bool = False, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE if capture else sys.stderr, stderr=subprocess.PIPE, text=True,
        cwd=cwd, check=False,
    )  # fmt: skip
    if done.returncode:
        raise CannotMakeError(
            f"`{' '.join(map(str, command))[:200]}` ended with status {done.returncode}: {done.stderr[-2000:]}"
        )
    return done.stdout or ""


if __name__ == "__main__":
    print(json.dumps({"name": NAME, "archive": str(have())}))
