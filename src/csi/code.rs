//! gRPC codes by name and number (the gRPC documentation, "Status codes and their use in gRPC"), with what CSI means by each and what a
//! caller does next.

use tonic::Code;

use crate::model::explain::Explanation;

/// What is known of one code.
#[derive(Debug)]
pub struct Facts {
    code: Code,
    /// As the specification writes it: `NOT_FOUND`.
    pub name: &'static str,
    /// For `csictl explain`.
    pub explanation: Explanation,
    /// What a caller does next.
    pub help: &'static str,
}

impl Facts {
    /// What a caller of this call does next.
    pub fn help_for(&self, rpc: &str) -> &'static str {
        match (self.code, rpc) {
            (Code::ResourceExhausted, "CreateVolume") => {
                "get-capacity tells what room is left, node-get-info where volumes are made"
            }
            (Code::ResourceExhausted, "ControllerPublishVolume" | "NodeStageVolume") => {
                "node-get-info tells how many volumes the node takes, list-volumes which are published there"
            }
            (Code::FailedPrecondition, "DeleteVolume") => {
                "node-unpublish-volume, node-unstage-volume and controller-unpublish-volume take it down"
            }
            (Code::FailedPrecondition, "NodePublishVolume") => {
                "node-stage-volume stages it; node-unpublish-volume takes it from where it is shown"
            }
            (Code::FailedPrecondition, "NodeUnstageVolume") => "node-unpublish-volume takes it from where it is shown",
            (Code::FailedPrecondition, "ControllerPublishVolume" | "NodeStageVolume") => {
                "controller-get-volume tells which node has it; controller-unpublish-volume takes it from there"
            }
            (Code::FailedPrecondition, "ControllerExpandVolume" | "NodeExpandVolume") => {
                "node-unpublish-volume and node-unstage-volume take it down for an expansion"
            }
            _ => self.help,
        }
    }

    /// Its number on the wire, 1 to 16.
    pub fn number(&self) -> u8 {
        ERRORS.iter().zip(1..).find(|(facts, _)| facts.code == self.code).map_or(2, |(_, number)| number)
    }
}

/// The number of UNAVAILABLE, which is also what a socket without a server comes to.
pub const UNAVAILABLE: u8 = 14;

/// The name of a code, OK included.
pub fn name(code: Code) -> &'static str {
    if code == Code::Ok { "OK" } else { of(code).name }
}

/// What is known of an error's code; UNKNOWN for OK, which is none.
pub fn of(code: Code) -> &'static Facts {
    ERRORS.iter().find(|facts| facts.code == code).unwrap_or(&ERRORS[1])
}

const fn facts(
    code: Code,
    name: &'static str,
    explained: &'static str,
    title: &'static str,
    text: &'static str,
    help: &'static str,
) -> Facts {
    Facts { code, name, explanation: Explanation { code: explained, title, text }, help }
}

/// All errors, in the order of their numbers, from 1.
pub const ERRORS: &[Facts] = &[
    facts(
        Code::Cancelled,
        "CANCELLED",
        "csictl::csi::cancelled",
        "The call was given up",
        "The caller or something between gave the call up. With csictl's own server the work goes on; the same call again finds its result. Exit code 101.",
        "repeat the call: CSI calls are idempotent",
    ),
    facts(
        Code::Unknown,
        "UNKNOWN",
        "csictl::csi::unknown",
        "The server gave no usable reason",
        "The server failed in a way it has no code for. Its log says more. Exit code 102.",
        "look at the server's log",
    ),
    facts(
        Code::InvalidArgument,
        "INVALID_ARGUMENT",
        "csictl::csi::invalid-argument",
        "A field is missing or wrong",
        "The request lacks a field or has one that can't be right, whatever the state of the volume. Repeating it does not help. Exit code 103.",
        "correct the request; '-h' behind the call's name lists its flags",
    ),
    facts(
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        "csictl::csi::deadline-exceeded",
        "No answer in time",
        "The answer did not come within --timeout. With csictl's own server the work goes on: the same call again is ABORTED while it runs and OK when it is done. Exit code 104.",
        "repeat the call, with a longer --timeout if need be",
    ),
    facts(
        Code::NotFound,
        "NOT_FOUND",
        "csictl::csi::not-found",
        "No such volume, snapshot or node",
        "What the request names is not there. Deleting what is not there is no error. Exit code 105.",
        "check the id; list-volumes and list-snapshots show what is there",
    ),
    facts(
        Code::AlreadyExists,
        "ALREADY_EXISTS",
        "csictl::csi::already-exists",
        "It is there, and it is another one",
        "Under this name or at this path there is something that does not fit the request: another size, source, capability or parameter. Exit code 106.",
        "use another name or path, or ask for what is there",
    ),
    facts(
        Code::PermissionDenied,
        "PERMISSION_DENIED",
        "csictl::csi::permission-denied",
        "The server does not let the caller",
        "The server knows the caller and refuses. Exit code 107.",
        "look at the server's log for what is missing",
    ),
    facts(
        Code::ResourceExhausted,
        "RESOURCE_EXHAUSTED",
        "csictl::csi::resource-exhausted",
        "No room",
        "There is no space in the pool, no free place on the node, or too many calls are running at once. Exit code 108.",
        "get-capacity tells what room is left; ask for less, or free some",
    ),
    facts(
        Code::FailedPrecondition,
        "FAILED_PRECONDITION",
        "csictl::csi::failed-precondition",
        "Not in this state",
        "The object has to be brought into another state first: unpublished before it is unstaged, without snapshots before it is deleted, made ready before it is used. The message says which. Exit code 109.",
        "controller-get-volume and list-snapshots tell the state it is in",
    ),
    facts(
        Code::Aborted,
        "ABORTED",
        "csictl::csi::aborted",
        "Another call works on it",
        "An earlier call on the same volume is still running, or a page token is none of the server's. Exit code 110.",
        "try again in a moment",
    ),
    facts(
        Code::OutOfRange,
        "OUT_OF_RANGE",
        "csictl::csi::out-of-range",
        "No such size",
        "The size asked for can't be had: below what the source holds, above a limit, or limit and need contradict each other. Exit code 111.",
        "ask for another size",
    ),
    facts(
        Code::Unimplemented,
        "UNIMPLEMENTED",
        "csictl::csi::unimplemented",
        "The server does not serve this call",
        "The plugin does not offer the call, or was started without its service. Exit code 112.",
        "see what it offers: get-plugin-capabilities, controller-get-capabilities, node-get-capabilities",
    ),
    facts(
        Code::Internal,
        "INTERNAL",
        "csictl::csi::internal",
        "The server failed",
        "A tool or the kernel failed on the server's side; the message has the cause. Exit code 113.",
        "look at the cause and at the server's log, then repeat the call",
    ),
    facts(
        Code::Unavailable,
        "UNAVAILABLE",
        "csictl::csi::unavailable",
        "No server, or it does not take calls now",
        "Nobody answers at the socket, the server is ending, or it has more calls than it can hold. Exit code 114.",
        "see that the server runs, and try again",
    ),
    facts(
        Code::DataLoss,
        "DATA_LOSS",
        "csictl::csi::data-loss",
        "Data is lost or damaged",
        "The server found data that can't be recovered. Exit code 115.",
        "look at the server's log before anything else",
    ),
    facts(
        Code::Unauthenticated,
        "UNAUTHENTICATED",
        "csictl::csi::unauthenticated",
        "The server does not know the caller",
        "The plugin wants credentials that the request does not have. Exit code 116.",
        "give them with --secrets FILE",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_wire() {
        for number in 1..=16_u8 {
            let facts = of(Code::from(i32::from(number)));
            assert_eq!(facts.number(), number, "{}", facts.name);
            assert_eq!(
                facts.explanation.code.trim_start_matches("csictl::csi::").replace('-', "_").to_uppercase(),
                facts.name
            );
        }
        assert_eq!((name(Code::Ok), ERRORS.len()), ("OK", 16));
    }
}
