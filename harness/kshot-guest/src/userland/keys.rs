//! The SSH keys that kshot generates: the client key, which the guest accepts, and the guest's host key,
//! which the client expects.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ed25519_compact::{KeyPair, Seed};

use super::{UserlandError, openssh};
use crate::host::cache::{Cache, Lookup};
use crate::host::{FileError, random};

/// The SSH keys in the cache, generated once.
#[derive(Clone, Debug)]
pub struct SshKeys {
    /// The client's private key: an OpenSSH key file of mode 0600.
    pub client_key_private: PathBuf,
    /// The client's public key, as a line of `authorized_keys` without the line end.
    pub client_key_public: String,
    /// The guest's private host key, in dropbear's format.
    pub host_key_private: Vec<u8>,
    /// The guest's public host key, as SSH sends it (RFC 4253 section 6.6).
    pub host_key_public: Vec<u8>,
}

/// The kind and the key of the entry of the cache.
const KIND: &str = "keys";
const KEY: &str = "ed25519";
const CLIENT_KEY_FILE: &str = "client";
const HOST_KEY_FILE: &str = "host";

impl SshKeys {
    /// The keys in the cache, generated now if there are none.
    ///
    /// # Errors
    /// [`UserlandError`].
    pub fn provision(cache: &Cache) -> Result<Self, UserlandError> {
        match Self::find_or_generate(cache) {
            // They were damaged: others serve as well.
            Err(UserlandError::Key { .. } | UserlandError::File(_)) if cache.remove(KIND, KEY)? => {
                Self::find_or_generate(cache)
            }
            keys => keys,
        }
    }

    fn find_or_generate(cache: &Cache) -> Result<Self, UserlandError> {
        let folder = match cache.find_or_draft(KIND, KEY, || ())? {
            Lookup::Found(folder) => folder,
            Lookup::Missing(draft) => {
                for name in [CLIENT_KEY_FILE, HOST_KEY_FILE] {
                    generate(name, &draft.path().join(name))?;
                }
                draft.commit()?
            }
        };
        let client = read(&folder.join(CLIENT_KEY_FILE))?;
        let host = read(&folder.join(HOST_KEY_FILE))?;
        Ok(Self {
            client_key_private: folder.join(CLIENT_KEY_FILE),
            client_key_public: openssh::public_line(&client, &comment(CLIENT_KEY_FILE)),
            host_key_private: dropbear(&host),
            host_key_public: openssh::public_key(&host),
        })
    }
}

fn comment(name: &str) -> String {
    format!("kshot {name}")
}

/// Generates a key, and writes its file.
fn generate(name: &str, path: &Path) -> Result<(), UserlandError> {
    let pair = KeyPair::try_from_seed(Seed::new(random()?));
    let pair = pair.map_err(|_| UserlandError::Key { path: path.into() })?;
    let text = openssh::private_key(&pair, &comment(name), random()?);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    Ok(file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(FileError::on("write", path))?)
}

fn read(path: &Path) -> Result<KeyPair, UserlandError> {
    let text = fs::read_to_string(path).map_err(FileError::on("read", path))?;
    openssh::read(&text).ok_or_else(|| UserlandError::Key { path: path.into() })
}

/// Dropbear's own form of an ed25519 host key (`buf_put_ed25519_priv_key` in its `ed25519.c`): the string
/// "ssh-ed25519", then one string of the 32 bytes of the seed and the 32 bytes of the public key.
fn dropbear(pair: &KeyPair) -> Vec<u8> {
    let mut bytes = Vec::new();
    openssh::string(&mut bytes, b"ssh-ed25519");
    openssh::string(&mut bytes, &*pair.sk);
    bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_once_and_the_private_one_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let first = SshKeys::provision(&cache).unwrap();
        let second = SshKeys::provision(&cache).unwrap();
        assert_eq!(first.client_key_public, second.client_key_public);
        assert_eq!(first.host_key_private, second.host_key_private);
        assert!(first.client_key_public.starts_with("ssh-ed25519 AAAA"));
        let mode = fs::metadata(&first.client_key_private).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn keys_that_were_damaged_are_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let first = SshKeys::provision(&cache).unwrap();
        for damage in ["", "no key"] {
            fs::write(&first.client_key_private, damage).unwrap();
            let second = SshKeys::provision(&cache).unwrap();
            assert_ne!(first.client_key_public, second.client_key_public);
        }
    }

    #[test]
    fn the_host_key_has_dropbears_form_and_matches_the_pinned_one() {
        let folder = tempfile::tempdir().unwrap();
        let keys = SshKeys::provision(&Cache::at(folder.path())).unwrap();
        assert_eq!(&keys.host_key_private[..19], b"\0\0\0\x0bssh-ed25519\0\0\0\x40");
        assert_eq!(keys.host_key_private.len(), 83);
        // The public half ends both.
        assert_eq!(keys.host_key_private[51..], keys.host_key_public[19..]);
        assert_eq!(keys.host_key_public.len(), 51);
    }
}
