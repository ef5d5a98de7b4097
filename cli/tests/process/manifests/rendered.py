"""The objects that are applied to a cluster: the rendered manifests of an overlay, and the keys."""

import base64
import os
import pathlib
import subprocess
import sys
import tempfile

import yaml

WORKSPACE = pathlib.Path(__file__).resolve().parents[4]
# `scripts/tools` installs kubectl next to this Python. The scripts that are run here find it in PATH.
os.environ["PATH"] = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"

OURS = "app.kubernetes.io/"


def output(*command):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def rendered(overlay, components):
    with tempfile.TemporaryDirectory() as folder:
        # kustomize accepts no absolute paths.
        k8s = pathlib.Path(os.path.relpath(WORKSPACE / "k8s", pathlib.Path(folder).resolve()))
        parts = {
            "resources": [str(k8s / "overlays" / overlay)],
            "components": [str(k8s / "components" / name) for name in components],
            # The overlays set the same namespace and labels, but not for the objects of a component that is added here.
            "namespace": "tickwell",
            "labels": [
                {
                    "pairs": {OURS + "part-of": "tickwell", OURS + "managed-by": "kustomize"},
                    "includeTemplates": True,
                }
            ],
        }
        (pathlib.Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(parts))
        return output("kubectl", "kustomize", folder)


class Manifests:
    """Every object of an overlay. The overlay `production+log-backup` is `production` with the component `log-backup` of
    k8s/components. Includes the smoke test, and the objects that `k8s-keys` creates from the keys in a directory."""

    def __init__(self, overlay, keys):
        overlay, *components = overlay.split("+")
        texts = [
            rendered(overlay, components),
            output(WORKSPACE / "scripts/k8s-keys", keys, *["maintenance" for name in components if name == "log-backup"]),
            (WORKSPACE / "k8s/smoke.yaml").read_text(),
        ]
        self.objects = [item for text in texts for item in yaml.safe_load_all(text) if item]

    def of(self, *kinds):
        return [item for item in self.objects if item["kind"] in kinds]

    def find(self, kind, name):
        found = [item for item in self.of(kind) if item["metadata"]["name"] == name]
        return found[0] if found else None

    def pods(self):
        """The pods by component: the template, and the object that owns it."""
        templates = {}
        for item in self.of("StatefulSet", "Deployment", "Job"):
            template = item["spec"]["template"]
            templates[template["metadata"]["labels"][OURS + "component"]] = (template, item)
        for item in self.of("CronJob"):
            template = item["spec"]["jobTemplate"]["spec"]["template"]
            templates[template["metadata"]["labels"][OURS + "component"]] = (template, item)
        for item in self.of("Pod"):
            templates[item["metadata"]["labels"][OURS + "component"]] = (item, item)
        return templates

    def mounts(self, template, owner, container):
        """The mounts of a container by path: a dict of files, or None for a writable volume."""
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
        claims = {claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", [])}

        def found(name):
            claim = volumes.get(name, {}).get("persistentVolumeClaim")
            if claim and self.find("PersistentVolumeClaim", claim["claimName"]) is None:
                raise KeyError(f"there is no PersistentVolumeClaim {claim['claimName']}")
            return None if claim or name in claims else self.files(volumes[name])

        return {mount["mountPath"]: found(mount["name"]) for mount in container.get("volumeMounts", [])}

    def files(self, source):
        """The files of a volume, or of a part of one. Raises KeyError if an object that it refers to does not exist."""
        if "configMap" in source:
            return self.data("ConfigMap", source["configMap"]["name"])
        if "secret" in source:
            return self.data("Secret", source["secret"]["secretName"])
        return {name: text for part in source["projected"]["sources"] for name, text in self.files(part).items()}

    def data(self, kind, name):
        item = self.find(kind, name)
        if item is None:
            raise KeyError(f"there is no {kind} {name}")
        plain = item.get("data", {})
        return plain if kind == "ConfigMap" else {key: base64.b64decode(text).decode() for key, text in plain.items()}
