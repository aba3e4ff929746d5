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
    /// The number of buckets, a power of two, less one.
    pub bucket_mask: u32,
    /// By how many bits less than 32 an entry is numbered, at most 31 and at least 1.
    pub entry_shift: u32,
}

impl Geometry {
    /// The table with `1 << bucket_bits` buckets, at most 31 bits, and `1 << entry_bits` entries, 1 to 31 bits.
    pub const fn of_bits(bucket_bits: u32, entry_bits: u32) -> Self {
        Self {
            bucket_mask: (1 << bucket_bits) - 1,
            entry_shift: u32::BITS - entry_bits,
        }
    }

    /// How many buckets there are.
    pub const fn buckets(self) -> u32 {
        self.bucket_mask + 1
    }

    /// How many entries there are.
    pub const fn entries(self) -> u32 {
        1 << (u32::BITS - self.entry_shift)
    }

    /// Which bucket a key with this hash is in.
    #[inline(always)]
    pub const fn bucket(self, hash: u64) -> u32 {
        hash as u32 & self.bucket_mask
    }

    /// Which entry a key with this hash is in if its bucket has this seed: multiplicative hashing, in which two keys
    /// meet for at most one odd seed in `entries / 2` (Dietzfelbinger et al., 1997).
    #[inline(always)]
    pub const fn entry(self, hash: u64, seed: u32) -> u32 {
        ((hash >> 32) as u32).wrapping_mul(seed) >> self.entry_shift
    }
}
