//! What the data plane does now and then beside forwarding: one flat list, each with its counter.

use crate::counted::counted;

counted! {
    /// Something that the data plane did.
    Event:

    /// An echo request to a VIP was answered.
    EchoAnswered = 0, "echo_answered";
    /// An ICMP error about a packet from a VIP was sent on to the backend whose packet it was.
    ErrorToBackend = 1, "error_to_backend";
    /// An ICMP error about a packet to a backend was sent on to the client whose packet it was.
    ErrorToClient = 2, "error_to_client";
    /// The sender of a packet that was dropped as too big, with its TTL expired or as rejected was told so, by an ICMP error or a
    /// TCP reset.
    SenderTold = 3, "sender_told";
    /// The sender of such a packet was not told, since it has been told of others as often as it may for now.
    SenderNotTold = 4, "sender_not_told";
    /// A later fragment went where the first one of its packet had gone.
    FragmentFollowed = 5, "fragment_followed";
    /// A flow was forgotten to make room for another one.
    FlowEvicted = 6, "flow_evicted";
    /// A new flow was not remembered, since there was no room but that of flows in use. It goes where the Maglev table says.
    FlowNotRemembered = 7, "flow_not_remembered";
}
