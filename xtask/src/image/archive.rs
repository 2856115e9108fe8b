//! An image as an archive that `docker load`, `podman load`, `ctr images import` and `skopeo` read: an OCI image layout,
//! with the index of older Docker engines beside it.

use std::{collections::BTreeMap, io::Write};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType};

use super::layer::append;

/// An image of one layer.
#[derive(Debug)]
pub(super) struct Image {
    /// `registry/repository:tag`.
    pub(super) name: String,
    /// As in the image's configuration: entry point, user.
    pub(super) config: Value,
    /// An uncompressed tar.
    pub(super) layer: Vec<u8>,
}

impl Image {
    /// Writes the archive.
    pub(super) fn write(self, out: impl Write) -> Result<()> {
        let Self { name, config, layer } = self;
        let mut blobs = BTreeMap::new();
        let platform = json!({"os": "linux", "architecture": architecture()});
        let layer = Blob::of("application/vnd.oci.image.layer.v1.tar", layer, &mut blobs);
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        });
        let config = Blob::of("application/vnd.oci.image.config.v1+json", encode(&config), &mut blobs);
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        });
        let manifest = Blob::of(media_type, encode(&manifest), &mut blobs);
        let tag = name.rsplit_once(':').map_or("", |(_, tag)| tag);
        let mut descriptor = manifest.descriptor();
        descriptor["platform"] = platform;
        descriptor["annotations"] =
            json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [descriptor],
        });
        // Docker before 25 knows no other.
        let docker = json!([{"Config": config.path(), "RepoTags": [name], "Layers": [layer.path()]}]);

        let mut files = BTreeMap::from([
            ("index.json".to_owned(), encode(&index)),
            ("manifest.json".to_owned(), encode(&docker)),
            ("oci-layout".to_owned(), encode(&json!({"imageLayoutVersion": "1.0.0"}))),
        ]);
        files.extend(blobs);
        let mut tar = Builder::new(out);
        for (path, content) in &files {
            append(&mut tar, path, EntryType::Regular, 0o644, content)?;
        }
        tar.finish().context("end the archive")
    }
}

/// Content that is stored under its own digest.
struct Blob {
    media_type: &'static str,
    digest: String,
    size: usize,
}

impl Blob {
    fn of(media_type: &'static str, content: Vec<u8>, blobs: &mut BTreeMap<String, Vec<u8>>) -> Self {
        let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        let blob = Self { media_type, digest: format!("sha256:{digest}"), size: content.len() };
        blobs.insert(blob.path(), content);
        blob
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.size})
    }
}

fn encode(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// As Go, and so images, call this machine's.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn archive() -> BTreeMap<String, Vec<u8>> {
        let image = Image {
            name: "docker.io/podtap/agent:1".to_owned(),
            config: json!({"Entrypoint": ["/tap-agent"]}),
            layer: b"layer".to_vec(),
        };
        let mut out = Vec::new();
        image.write(&mut out).unwrap();
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(&*out).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().to_string_lossy().into_owned(), content);
        }
        files
    }

    fn json(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
        serde_json::from_slice(&files[path]).unwrap()
    }

    #[test]
    fn descriptors_lead_from_the_index_to_the_layer() {
        let files = archive();
        let follow = |descriptor: &Value| {
            let path = format!("blobs/{}", descriptor["digest"].as_str().unwrap().replace(':', "/"));
            assert_eq!(descriptor["size"], files[&path].len());
            let digest: String =
                Sha256::digest(&files[&path]).iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(path.ends_with(&digest));
            path
        };
        let index = json(&files, "index.json");
        assert_eq!(
            index["manifests"][0]["annotations"]["io.containerd.image.name"],
            "docker.io/podtap/agent:1"
        );
        let manifest = json(&files, &follow(&index["manifests"][0]));
        let layer = follow(&manifest["layers"][0]);
        assert_eq!(files[&layer], b"layer");
        let config = json(&files, &follow(&manifest["config"]));
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        assert_eq!(config["config"]["Entrypoint"][0], "/tap-agent");
    }

    #[test]
    fn older_engines_find_the_same() {
        let files = archive();
        let docker = json(&files, "manifest.json");
        assert_eq!(docker[0]["RepoTags"][0], "docker.io/podtap/agent:1");
        assert_eq!(files[docker[0]["Layers"][0].as_str().unwrap()], b"layer");
        assert!(files.contains_key(docker[0]["Config"].as_str().unwrap()));
    }

    #[test]
    fn the_same_content_is_the_same_archive() {
        assert_eq!(archive(), archive());
    }
}
