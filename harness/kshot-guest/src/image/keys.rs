//! The SSH keys that kshot generates: the client key, which the guest accepts, and the guest's host key, which the
//! client expects.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ed25519_compact::{KeyPair, Seed};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey};

use super::ImageError;
use crate::host::FileError;
use crate::host::cache::{Cache, Lookup};

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

const CLIENT_KEY_FILE: &str = "client";
const HOST_KEY_FILE: &str = "host";

impl SshKeys {
    /// The keys in the cache, generated now if there are none.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn provision(cache: &Cache) -> Result<Self, ImageError> {
        let folder = match cache.find_or_draft("keys", "ed25519", || ())? {
            Lookup::Found(folder) => folder,
            Lookup::Missing(draft) => {
                for name in [CLIENT_KEY_FILE, HOST_KEY_FILE] {
                    write(&draft.path().join(name), &generate(name)?)?;
                }
                draft.commit()?
            }
        };
        let client = read(&folder.join(CLIENT_KEY_FILE))?;
        let host = read(&folder.join(HOST_KEY_FILE))?;
        Ok(Self {
            client_key_private: folder.join(CLIENT_KEY_FILE),
            client_key_public: client.public_key().to_openssh()?,
            host_key_private: dropbear(&host)?,
            host_key_public: host.public_key().to_bytes()?,
        })
    }
}

fn generate(name: &str) -> Result<PrivateKey, ImageError> {
    let path = Path::new("/dev/urandom");
    let mut seed = [0; 32];
    File::open(path).and_then(|mut file| file.read_exact(&mut seed)).map_err(FileError::on("read", path))?;
    Ok(PrivateKey::new(KeypairData::Ed25519(from_seed(seed)?), format!("kshot {name}"))?)
}

fn from_seed(seed: [u8; 32]) -> Result<Ed25519Keypair, ssh_key::Error> {
    let pair = KeyPair::try_from_seed(Seed::new(seed)).map_err(|_| ssh_key::Error::Crypto)?;
    // Both keep the seed, then the public key.
    Ed25519Keypair::from_bytes(&pair.sk)
}

fn write(path: &Path, key: &PrivateKey) -> Result<(), ImageError> {
    let text = key.to_openssh(LineEnding::LF)?;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    Ok(file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(FileError::on("write", path))?)
}

fn read(path: &Path) -> Result<PrivateKey, ImageError> {
    Ok(PrivateKey::read_openssh_file(path)?)
}

/// Dropbear's own form of an ed25519 host key (`buf_put_ed25519_priv_key` in its `ed25519.c`): the string
/// "ssh-ed25519", then one string of the 32 bytes of the seed and the 32 bytes of the public key.
fn dropbear(key: &PrivateKey) -> Result<Vec<u8>, ImageError> {
    let pair = key.key_data().ed25519().ok_or(ssh_key::Error::AlgorithmUnknown)?;
    let name = b"ssh-ed25519";
    let mut bytes = Vec::with_capacity(4 + name.len() + 4 + 64);
    bytes.extend((name.len() as u32).to_be_bytes());
    bytes.extend(name);
    bytes.extend(64_u32.to_be_bytes());
    bytes.extend(pair.to_bytes());
    Ok(bytes)
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

    /// RFC 8032 section 7.1, test 1.
    #[test]
    fn a_seed_gives_the_public_key_that_the_standard_says() {
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let public = hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
        assert_eq!(from_seed(seed.try_into().unwrap()).unwrap().public.0, *public);
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
