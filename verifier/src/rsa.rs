//! RSA public keys (RS256) as they are published: the RSAPublicKey of PKCS #1, taken apart strictly for the JWK that it becomes.

/// Smaller ones are not taken, and neither are larger ones than anybody needs.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2_048..=4_096;

/// Modulus and exponent, big-endian without leading zeros, as a JWK has them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Components<'a> {
    pub(crate) modulus: &'a [u8],
    pub(crate) exponent: &'a [u8],
}

impl<'a> Components<'a> {
    /// `None` where that is no RSAPublicKey in DER, its modulus is of another size than is accepted, or its exponent is none to verify by.
    pub(crate) fn read(der: &'a [u8]) -> Option<Self> {
        let (sequence, rest) = element(der, 0x30)?;
        let (modulus, after) = element(sequence, 0x02)?;
        let (exponent, end) = element(after, 0x02)?;
        let read = Self { modulus: positive(modulus)?, exponent: positive(exponent)? };
        let bits = read.modulus.len() * 8 - usize::try_from(read.modulus.first()?.leading_zeros()).ok()?;
        let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
        let usable = MODULUS_BITS.contains(&bits) && odd(read.modulus) && odd(read.exponent) && (3..=8).contains(&read.exponent.len());
        (rest.is_empty() && end.is_empty() && usable).then_some(read)
    }
}

/// One element of this tag, and what follows it; lengths are definite and as short as can be.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0x00..=0x7f => (usize::from(*first), rest),
        0x81 => rest.split_first().map(|(one, rest)| (usize::from(*one), rest)).filter(|(length, _)| *length > 0x7f)?,
        0x82 => match rest {
            [high, low, rest @ ..] if *high > 0 => (usize::from(*high) << 8 | usize::from(*low), rest),
            _ => return None,
        },
        _ => return None,
    };
    (*found == tag).then(|| rest.split_at_checked(length)).flatten()
}

/// A positive integer's digits: the sign's zero byte only where it is needed.
fn positive(integer: &[u8]) -> Option<&[u8]> {
    match integer {
        [0, digits @ ..] if digits.first().is_some_and(|first| *first >= 0x80) => Some(digits),
        [first @ 1..=0x7f, ..] if *first > 0 => Some(integer),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use aws_lc_rs::{
        rsa::{KeyPair, KeySize},
        signature::KeyPair as _,
    };

    use super::*;

    /// Making one takes a while.
    pub(crate) static PAIR: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

    #[test]
    fn v5_an_rsa_key_is_read_strictly() {
        let der = PAIR.public_key().as_ref();
        let read = Components::read(der).unwrap();
        assert_eq!((read.modulus.len(), read.exponent), (256, [1, 0, 1].as_slice()));
        assert_eq!(Components::read(&[der, &[0]].concat()), None, "something follows");
        for cut in 0..der.len() {
            assert_eq!(Components::read(&der[..cut]), None, "{cut}");
        }
        for at in [0, 1, 2, 4, 5, 6] {
            let mut changed = der.to_vec();
            changed[at] ^= 0x40;
            assert_eq!(Components::read(&changed), None, "byte {at}");
        }
        let small = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let components = Components::read(small.public_key().as_ref()).unwrap();
        let half = [&[0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0], &components.modulus[..127], &[1, 2, 3, 1, 0, 1]].concat();
        assert_eq!(Components::read(&half), None, "1,024 bits");
    }
}
