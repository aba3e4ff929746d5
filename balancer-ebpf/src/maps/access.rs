//! Who may use services.

use aya_ebpf::{
    btf_maps::{LpmTrie, lpm_trie},
    macros::btf_map,
};
use balancer_common::abi::{Access, Address, ClientPrefix, Generation};

/// Entries are only allocated when they are made.
#[btf_map]
static ACCESS: LpmTrie<ClientPrefix, Access, 2_097_152> = LpmTrie::new();

/// Whether a client may use a service that has source lists, under the given generation of them: what the longest prefix says.
#[inline(always)]
pub(crate) fn may_use(service: u32, client: Address, generation: Generation) -> bool {
    let key = lpm_trie::Key::new(ClientPrefix::BITS, ClientPrefix::new(service, client));
    ACCESS.get(&key).is_some_and(|access| access.allows(generation))
}
