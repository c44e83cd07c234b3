//! What identifies a blob: the digest of its bytes, and their number.
//!
//! Two equal digests mean equal bytes; nothing shorter than 256 bits ever decides that. The size is part of
//! the digest, as in the Remote Execution API. BLAKE3 is the default; SHA-256 is for remotes that know
//! nothing else. Nothing here starts a thread; several for one large file are [`digest_open`]'s.
//!
//! [`digest_open`]: crate::digest_open

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// The function all digests of one workspace are made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestFunction {
    /// 256-bit BLAKE3.
    #[default]
    Blake3,
    /// SHA-256.
    Sha256,
}

impl fmt::Display for DigestFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
        })
    }
}

/// A text that is no digest or names no digest function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest")]
pub struct DigestParseError(String);

impl FromStr for DigestFunction {
    type Err = DigestParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "blake3" => Ok(Self::Blake3),
            "sha256" => Ok(Self::Sha256),
            _ => Err(DigestParseError(text.to_owned())),
        }
    }
}

/// The digest of some bytes and how many they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    /// What the digest function made of the bytes.
    pub hash: [u8; 32],
    /// The number of bytes.
    pub size: u64,
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(function: DigestFunction, bytes: &[u8]) -> Self {
        let hash = match function {
            DigestFunction::Blake3 => *blake3::hash(bytes).as_bytes(),
            DigestFunction::Sha256 => sha2::Sha256::digest(bytes).into(),
        };
        Self { hash, size: bytes.len() as u64 }
    }

    /// The hash as 64 lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        self.to_string()
    }

    /// A digest from 64 hexadecimal digits and a size.
    pub fn from_hex(hex: &str, size: u64) -> Result<Self, DigestParseError> {
        decode_hex(hex.as_bytes())
            .map(|hash| Self { hash, size })
            .ok_or_else(|| DigestParseError(hex.to_owned()))
    }
}

/// The 64 lower-case hexadecimal digits of a hash.
pub(crate) fn encode_hex(hash: &[u8; 32]) -> [u8; 64] {
    let mut hex = [0; 64];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(hash) {
        pair.copy_from_slice(&PAIRS[usize::from(*byte)]);
    }
    hex
}

/// The two digits of every byte.
static PAIRS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Only the canonical (lower-case) spelling is accepted, so that one blob has one name.
pub(crate) fn decode_hex(hex: &[u8]) -> Option<[u8; 32]> {
    fn value(digit: u8) -> Option<u8> {
        match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        }
    }
    if hex.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(hash)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = encode_hex(&self.hash);
        f.write_str(std::str::from_utf8(&hex).expect("hexadecimal digits are ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/{}", self.size)
    }
}

/// Reads `hex/size`.
impl FromStr for Digest {
    type Err = DigestParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || DigestParseError(text.to_owned());
        let (hex, size) = text.split_once('/').ok_or_else(wrong)?;
        if size.starts_with('+') || (size.len() > 1 && size.starts_with('0')) {
            return Err(wrong());
        }
        Self::from_hex(hex, size.parse().map_err(|_| wrong())?).map_err(|_| wrong())
    }
}

/// Makes a digest of bytes that come piece by piece.
pub struct Hasher {
    state: State,
    size: u64,
}

enum State {
    Blake3(Box<blake3::Hasher>),
    Sha256(sha2::Sha256),
}

impl Hasher {
    /// A hasher that has seen no bytes.
    pub fn new(function: DigestFunction) -> Self {
        let state = match function {
            DigestFunction::Blake3 => State::Blake3(Box::default()),
            DigestFunction::Sha256 => State::Sha256(sha2::Sha256::new()),
        };
        Self { state, size: 0 }
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        match &mut self.state {
            State::Blake3(hasher) => {
                hasher.update(bytes);
            }
            State::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes taken in.
    pub fn finish(self) -> Digest {
        let hash = match self.state {
            State::Blake3(hasher) => *hasher.finalize().as_bytes(),
            State::Sha256(hasher) => hasher.finalize().into(),
        };
        Digest { hash, size: self.size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        let table = [
            (DigestFunction::Blake3, "", "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
            (
                DigestFunction::Blake3,
                "abc",
                "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
            ),
            (DigestFunction::Sha256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (
                DigestFunction::Sha256,
                "abc",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
        ];
        for (function, text, hex) in table {
            let digest = Digest::of(function, text.as_bytes());
            assert_eq!(digest.hex(), hex);
            assert_eq!(digest.size, text.len() as u64);
            let mut hasher = Hasher::new(function);
            text.bytes().for_each(|byte| hasher.update(&[byte]));
            assert_eq!(hasher.finish(), digest);
            assert_eq!(format!("{digest:?}").parse(), Ok(digest));
            assert_eq!(function.to_string().parse(), Ok(function));
        }
    }

    #[test]
    fn only_the_canonical_spelling_is_read() {
        let hex = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
        for text in [hex, &hex[1..], "", "/3", &format!("{hex}/"), &format!("{hex}/-1"), &format!("{hex}/03")]
        {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        assert!(format!("{}/3", hex.to_uppercase()).parse::<Digest>().is_err());
        assert!(format!("{hex}/+3").parse::<Digest>().is_err());
    }
}
