//! The lookup side of a perfect hash over [endpoints](crate::abi::Endpoint): one read of a seed, one of an entry, one comparison.
//!
//! A key's hash picks a bucket; the bucket's seed picks, for each of its keys, an entry that no other key has (hash,
//! displace and compress; Belazzougui, Botelho, Dietzfelbinger, ESA 2009). Whoever builds the table searches the seeds;
//! here they are only followed. Array reads are inlined by the kernel's JIT, where a lookup in a BPF hash map is a call.

/// The seed of a bucket that has not had a key yet. Every other seed is odd.
pub const EMPTY: u32 = 0;

/// How many buckets and entries a table has, each a power of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Logarithm of the number of buckets, at most 31.
    pub bucket_bits: u32,
    /// Logarithm of the number of entries, at most 31 and at least 1.
    pub entry_bits: u32,
}

impl Geometry {
    /// How many buckets there are.
    pub const fn buckets(self) -> u32 {
        1 << self.bucket_bits
    }

    /// How many entries there are.
    pub const fn entries(self) -> u32 {
        1 << self.entry_bits
    }

    /// Which bucket a key with this hash is in.
    #[inline(always)]
    pub const fn bucket(self, hash: u64) -> u32 {
        hash as u32 & (self.buckets() - 1)
    }

    /// Which entry a key with this hash is in if its bucket has this seed: multiplicative hashing, in which two keys
    /// meet for at most one odd seed in `entries / 2` (Dietzfelbinger et al., 1997).
    #[inline(always)]
    pub const fn entry(self, hash: u64, seed: u32) -> u32 {
        ((hash >> 32) as u32).wrapping_mul(seed) >> (u32::BITS - self.entry_bits)
    }
}
