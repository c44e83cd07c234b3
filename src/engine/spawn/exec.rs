//! Linux: starts a program the short way, with one `clone` that borrows this process's memory until the `execve`.
//!
//! It does what `posix_spawn` does for the standard library, in fewer than a tenth of the calls: of the signals only those
//! are put back that iact can have changed (a look at each of the 64 is 120 calls), nothing is copied that is there
//! already, and the end of the child comes as a descriptor from the same call.
//!
//! Invariants: the child has the caller's ignored signals, no other handler and an empty mask, as after `posix_spawn`;
//! between `clone` and `execve` it calls nothing but what is async-signal-safe, allocates nothing and cannot panic.
//! Refused: `clone3`, which could reset the handlers by itself, since only assembly can call it with a stack.
#![allow(clippy::disallowed_methods, reason = "shell: starts processes")]
#![allow(unsafe_code, reason = "no safe wrapper starts a process without looking at every signal")]

use super::start::Started;
use super::supervisor::Place;
use super::{Launch, MARKER, Stdin};
use crate::engine::signal::{ENDING, is_ignored};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use std::cell::RefCell;
use std::ffi::{OsStr, c_char, c_int, c_void};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

/// Bytes of stack for the few calls before `execve`.
const STACK: usize = 64 * 1024;

thread_local! {
    /// The stack of this thread's children: one at a time, as the thread waits for each `execve`.
    static CHILD_STACK: RefCell<Vec<u128>> = const { RefCell::new(Vec::new()) };
}

/// What the child works on; everything is made before it is.
struct Orders {
    program: *const c_char,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    cwd: *const c_char,
    /// What becomes descriptors 0 to 2, and whether it leads a group of its own.
    captured: Option<[RawFd; 3]>,
    /// Where its group is to be written.
    place: Option<(RawFd, libc::off_t)>,
    changed_signals: &'static [c_int],
    /// Why the child could not do all of it.
    errno: c_int,
}

/// Starts the program, which is not looked up any more.
pub(super) fn exec(
    program: &Path,
    launch: &Launch<'_>,
    mark: &OsStr,
    place: Option<Place<'_>>,
) -> io::Result<Started> {
    let mut texts = Texts::default();
    let (at, cwd) = (texts.add(&[program.as_os_str()])?, texts.add(&[launch.cwd.as_os_str()])?);
    let argv = launch.argv.iter().map(|word| texts.add(&[word])).collect::<io::Result<Vec<usize>>>()?;
    let env = environment(launch, mark, &mut texts)?;
    let pipes = match launch.stdin {
        Stdin::Null => Some((nothing()?, pipe_with(PipeFlags::CLOEXEC)?, pipe_with(PipeFlags::CLOEXEC)?)),
        Stdin::Terminal => None,
    };
    let captured =
        pipes.as_ref().map(|(null, out, err)| [null.as_raw_fd(), out.1.as_raw_fd(), err.1.as_raw_fd()]);
    let mut orders = Orders {
        program: texts.pointer(at),
        argv: texts.pointers(&argv),
        envp: texts.pointers(&env),
        cwd: texts.pointer(cwd),
        captured,
        place: place.and_then(|place| Some((place.table.as_raw_fd(), place.offset.try_into().ok()?))),
        changed_signals: changed_signals(),
        errno: 0,
    };
    let (pid, end) = give_birth(&mut orders)?;
    if orders.errno != 0 {
        super::reap::discard(pid);
        return Err(io::Error::from_raw_os_error(orders.errno));
    }
    let (stdout, stderr) = pipes.map(|(_, out, err)| (out.0, err.0)).unzip();
    Ok(Started { pid, end, stdout, stderr })
}

/// Texts that end with a NUL byte, one behind the other.
#[derive(Default)]
struct Texts(Vec<u8>);

impl Texts {
    /// Adds a text; where it begins.
    fn add(&mut self, parts: &[&OsStr]) -> io::Result<usize> {
        let start = self.0.len();
        parts.iter().for_each(|part| self.0.extend_from_slice(part.as_bytes()));
        if self.0[start..].contains(&0) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it holds a NUL byte"));
        }
        self.0.push(0);
        Ok(start)
    }

    /// The text that begins there: good until another one is added.
    fn pointer(&self, start: usize) -> *const c_char {
        self.0[start..].as_ptr().cast()
    }

    fn pointers(&self, starts: &[usize]) -> Vec<*const c_char> {
        starts.iter().map(|start| self.pointer(*start)).chain([ptr::null()]).collect()
    }
}

/// `NAME=VALUE` for each variable, sorted by name; of two with one name the latter counts.
fn environment(launch: &Launch<'_>, mark: &OsStr, texts: &mut Texts) -> io::Result<Vec<usize>> {
    let given = launch.env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
    let mut all: Vec<(&OsStr, &OsStr)> = given.chain([(OsStr::new(MARKER), mark)]).collect();
    all.reverse();
    all.sort_by_key(|(name, _)| *name);
    all.dedup_by_key(|(name, _)| *name);
    all.into_iter().map(|(name, value)| texts.add(&[name, OsStr::new("="), value])).collect()
}

/// `/dev/null`, opened once.
fn nothing() -> io::Result<&'static File> {
    static NULL: OnceLock<File> = OnceLock::new();
    if let Some(null) = NULL.get() {
        return Ok(null);
    }
    let null = File::open("/dev/null")?;
    Ok(NULL.get_or_init(|| null))
}

/// The child and, where the kernel gives it, the descriptor of its end. Comes back when the child runs its program or
/// has failed to.
fn give_birth(orders: &mut Orders) -> io::Result<(Pid, Option<OwnedFd>)> {
    CHILD_STACK.with_borrow_mut(|stack| {
        stack.resize(STACK / size_of::<u128>(), 0);
        let top = stack.as_mut_ptr_range().end.cast::<c_void>();
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let mut born = clone_blocked(top, flags | libc::CLONE_PIDFD, orders);
        if born.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL)) {
            born = clone_blocked(top, flags, orders);
        }
        born
    })
}

/// One `clone`, with all signals blocked: a handler of ours must not run in the child.
fn clone_blocked(top: *mut c_void, flags: c_int, orders: &mut Orders) -> io::Result<(Pid, Option<OwnedFd>)> {
    let (mut all, mut before) = (MaybeUninit::<libc::sigset_t>::uninit(), MaybeUninit::uninit());
    let mut end: c_int = -1;
    // SAFETY: `sigfillset` fills the set it is given, `pthread_sigmask` the old one; both are valid for writes. `top` is
    // the upper end, aligned to 16 bytes, of a stack that this thread has borrowed and that nobody else uses: because of
    // CLONE_VFORK this thread goes on only when the child has ended or runs another program, so the stack, `orders` and
    // what that points to outlive the child's use of them, and nothing of it is touched by two at a time.
    let (pid, error) = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        let pid = libc::clone(child, top, flags, ptr::from_mut(orders).cast(), &raw mut end);
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
        (pid, error)
    };
    // No number below nought may be asked about.
    let Some(pid) = (pid > 0).then_some(pid).and_then(Pid::from_raw) else { return Err(error) };
    // SAFETY: the kernel has put a new descriptor there, which is nobody else's; an older one knows nothing of it.
    let end = (end >= 0).then(|| unsafe { OwnedFd::from_raw_fd(end) });
    Ok((pid, end))
}

/// What the child does. Its memory is its parent's, its signal handlers and descriptors are copies.
extern "C" fn child(orders: *mut c_void) -> c_int {
    // SAFETY: it is the `Orders` of `clone_blocked`, whose owner waits.
    let orders = unsafe { &mut *orders.cast::<Orders>() };
    // SAFETY: all of these are async-signal-safe system calls on memory that outlives them; `argv` and `envp` end with a
    // null pointer and point to texts that `exec` holds. `_exit` runs nothing of the parent's.
    unsafe {
        let mut default = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        default.sa_sigaction = libc::SIG_DFL;
        let mut none = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
        libc::sigemptyset(&raw mut none);
        let put_back = |signal: &c_int| libc::sigaction(*signal, &raw const default, ptr::null_mut()) == 0;
        let done = orders.changed_signals.iter().all(put_back)
            && orders.captured.is_none_or(|captured| {
                orders.place.into_iter().for_each(register);
                libc::setpgid(0, 0) == 0 && (0..).zip(captured).all(|(to, from)| libc::dup2(from, to) == to)
            })
            && libc::chdir(orders.cwd) == 0
            && libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) == 0;
        if done {
            libc::execve(orders.program, orders.argv.as_ptr(), orders.envp.as_ptr());
        }
        orders.errno = *libc::__errno_location();
        libc::_exit(127)
    }
}

/// The child's: writes its group there.
fn register((table, offset): (RawFd, libc::off_t)) {
    // SAFETY: both are async-signal-safe, and the bytes outlive the call. Memory is all that can be missing; the mark
    // still finds the command then.
    unsafe {
        let group = i64::from(libc::getpid()).to_le_bytes();
        libc::pwrite(table, group.as_ptr().cast(), group.len(), offset);
    }
}

/// The signals whose effect has to be put back: handlers that iact or the standard library put up, or may yet, and SIGPIPE,
/// which the latter ignores. What the caller ignores stays ignored.
fn changed_signals() -> &'static [c_int] {
    static CHANGED: OnceLock<Vec<c_int>> = OnceLock::new();
    CHANGED.get_or_init(|| {
        let ending = ENDING.iter().filter(|signal| !is_ignored(**signal)).map(|signal| signal.as_raw());
        ending.chain([libc::SIGSEGV, libc::SIGBUS, libc::SIGPIPE]).collect()
    })
}
