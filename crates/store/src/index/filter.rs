//! Filters that know what is not there: binary fuse filters (Graf and Lemire, 2022), 9 bits a value, 0.4 % false
//! positives.

use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable, Filter, FilterRef};

/// A filter over distinct hashes as bytes; `None` for none.
pub fn build(hashes: &[u64]) -> Option<Vec<u8>> {
    if hashes.is_empty() {
        return None;
    }
    let filter = BinaryFuse8::try_from(hashes).ok()?;
    let mut bytes = vec![0u8; BinaryFuse8::DESCRIPTOR_LEN];
    filter.dma_copy_descriptor_to(&mut bytes);
    bytes.extend_from_slice(filter.dma_fingerprints());
    Some(bytes)
}

/// Can the hash be among those of the filter?
pub fn contains(bytes: &[u8], hash: u64) -> bool {
    match bytes.split_at_checked(BinaryFuse8::DESCRIPTOR_LEN) {
        Some((descriptor, fingerprints)) => BinaryFuse8Ref::from_dma(descriptor, fingerprints).contains(&hash),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found() {
        assert_eq!(build(&[]), None);
        for count in [1u64, 2, 3, 10, 1_000] {
            let hashes: Vec<u64> = (0..count).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
            let filter = build(&hashes).expect("a filter");
            assert!(hashes.iter().all(|hash| contains(&filter, *hash)), "{count}");
            let strangers = (0..1_000).filter(|number| contains(&filter, number * 7 + 3)).count();
            assert!(strangers < 50, "{strangers} of 1000 strangers pass a filter of {count}");
        }
    }
}
