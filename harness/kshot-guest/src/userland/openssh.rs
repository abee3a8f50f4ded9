//! OpenSSH's files of ed25519 keys that have no passphrase (PROTOCOL.key in OpenSSH's source, RFC 8709 for
//! the keys).

use base64ct::{Base64, Encoding};
use ed25519_compact::KeyPair;

const NAME: &[u8] = b"ssh-ed25519";
const MAGIC: &[u8] = b"openssh-key-v1\0";
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
/// No cipher, no way to a key from a passphrase, nothing that such a way would need, and one key.
const PLAIN: &[u8] = b"\0\0\0\x04none\0\0\0\x04none\0\0\0\0\0\0\0\x01";
/// The length that the secret part is filled up to a multiple of, without a cipher.
const BLOCK: usize = 8;
/// How long a line is.
const LINE: usize = 70;

/// The private key file. `check` stands in it twice, by which a wrong passphrase is seen; any number does.
pub(super) fn private_key(pair: &KeyPair, comment: &str, check: [u8; 4]) -> String {
    let mut secret = [check, check].concat();
    for part in [NAME, &*pair.pk, &*pair.sk, comment.as_bytes()] {
        string(&mut secret, part);
    }
    let missing = secret.len().next_multiple_of(BLOCK) - secret.len();
    secret.extend((1_u8..).take(missing));
    let mut bytes = [MAGIC, PLAIN].concat();
    string(&mut bytes, &public_key(pair));
    string(&mut bytes, &secret);
    let text = Base64::encode_string(&bytes);
    let mut lines = vec![BEGIN];
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let line;
        (line, rest) = rest.split_at(rest.len().min(LINE));
        lines.push(line);
    }
    lines.extend([END, ""]);
    lines.join("\n")
}

/// The key pair of a private key file; none if it is another file, another kind of key, or has a passphrase.
pub(super) fn read(text: &str) -> Option<KeyPair> {
    let text = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let bytes = Base64::decode_vec(&text.split_whitespace().collect::<String>()).ok()?;
    let mut rest = bytes.strip_prefix(MAGIC)?.strip_prefix(PLAIN)?;
    let _public = take(&mut rest)?;
    let mut secret = take(&mut rest)?.get(8..)?;
    let (name, public, both) = (take(&mut secret)?, take(&mut secret)?, take(&mut secret)?);
    let pair = KeyPair::from_slice(both).ok()?;
    (name == NAME && public == *pair.pk && pair.validate().is_ok()).then_some(pair)
}

/// The public key as SSH sends it (RFC 8709 section 4).
pub(super) fn public_key(pair: &KeyPair) -> Vec<u8> {
    let mut bytes = Vec::new();
    string(&mut bytes, NAME);
    string(&mut bytes, &*pair.pk);
    bytes
}

/// The public key as a line of `authorized_keys`, without a line end.
pub(super) fn public_line(pair: &KeyPair, comment: &str) -> String {
    format!("ssh-ed25519 {} {comment}", Base64::encode_string(&public_key(pair)))
}

/// Appends a string of SSH's: its length in four bytes, then its bytes (RFC 4251 section 5).
pub(super) fn string(bytes: &mut Vec<u8>, string: &[u8]) {
    bytes.extend((string.len() as u32).to_be_bytes());
    bytes.extend(string);
}

/// Splits an SSH `string` (RFC 4251: length, bytes) off the front.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (string, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *bytes = rest;
    Some(string)
}

#[cfg(test)]
mod tests {
    use ed25519_compact::Seed;

    use super::*;

    /// The key of RFC 8032 section 7.1, test 1, as `ssh-keygen -p -N ''` of OpenSSH 9.2 wrote it.
    const FILE: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACDXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGgAAAJDLBZjOywWY
zgAAAAtzc2gtZWQyNTUxOQAAACDXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg
AAAECdYbGd7/1aYLqESvSS7CzEREnFaXsyaRlwO6wDHK5/YNdamAGCsQq31Uv+08lkBzoO
4XLz2qYjJa8CGmj3B1EaAAAADGtzaG90IGNsaWVudAE=
-----END OPENSSH PRIVATE KEY-----
";
    const LINE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea kshot client";
    const CHECK: [u8; 4] = [0xcb, 0x05, 0x98, 0xce];
    const SEED: [u8; 32] = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44,
        0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
    ];

    #[test]
    fn a_key_is_written_and_read_as_openssh_does() {
        let pair = KeyPair::from_seed(Seed::new(SEED));
        assert_eq!(private_key(&pair, "kshot client", CHECK), FILE);
        assert_eq!(public_line(&pair, "kshot client"), LINE);
        assert_eq!(*read(FILE).unwrap(), *pair);
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_no_key() {
        let pair = KeyPair::from_seed(Seed::new(SEED));
        let mut other = pair.clone();
        other.sk[40] ^= 1;
        assert!(read(&private_key(&other, "", CHECK)).is_none(), "the public key is not the seed's");
        for end in 0..FILE.len() - END.len() {
            assert!(read(&format!("{}{END}", &FILE[..end])).is_none_or(|read| *read == *pair), "{end}");
        }
        assert!(read(&FILE[1..]).is_none());
    }
}
