//! The program itself: its own streams, its signals, its exit code.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use anyhow::Result;
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// A program that could not be started, with the exit code that shells and wrappers use for it.
#[derive(Debug)]
pub struct NotStarted {
    /// 127 when there is no such program, 126 when it cannot be run.
    pub code: u8,
    /// What the operating system said.
    pub reason: std::io::Error,
}

/// Starts the program in our own process group and terminal, with our streams.
///
/// # Errors
/// As a shell would say.
pub fn start(command: &[OsString], variables: &[(String, String)]) -> Result<Child, NotStarted> {
    let missing = || std::io::Error::new(std::io::ErrorKind::NotFound, "no program was named");
    let (program, arguments) = command.split_first().ok_or_else(|| NotStarted { code: 127, reason: missing() })?;
    let mut command = Command::new(program);
    command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
    command.spawn().map_err(|reason| NotStarted {
        code: if reason.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 },
        reason,
    })
}

/// Waits for the program, and hands every signal on that asks it for something.
///
/// A key such as Ctrl-C reaches the program by itself, because the terminal sends it to the whole group; handing it on
/// would let it arrive twice.
///
/// # Errors
/// When signals cannot be listened to, or the program cannot be waited for.
pub async fn wait(mut child: Child) -> Result<ExitStatus> {
    let listen = |kind: SignalKind| signal(kind);
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut quit = listen(SignalKind::quit())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    let mut user1 = listen(SignalKind::user_defined1())?;
    let mut user2 = listen(SignalKind::user_defined2())?;
    loop {
        let (signal, from_keyboard) = tokio::select! {
            status = child.wait() => return Ok(status?),
            _ = interrupt.recv() => (Signal::INT, true),
            _ = quit.recv() => (Signal::QUIT, true),
            _ = terminate.recv() => (Signal::TERM, false),
            _ = hang_up.recv() => (Signal::HUP, false),
            _ = user1.recv() => (Signal::USR1, false),
            _ = user2.recv() => (Signal::USR2, false),
        };
        if from_keyboard && in_foreground() {
            continue;
        }
        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It may have ended just now.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// True when the keys of a terminal send signals to our group.
fn in_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// The code that a shell would give: the program's own, or 128 and the number of the signal that ended it.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_a_shell() {
        for (raw, code) in [(0, 0), (3 << 8, 3), (9, 137), (15, 143)] {
            assert_eq!(exit_code(ExitStatus::from_raw(raw)), code);
        }
    }
}
