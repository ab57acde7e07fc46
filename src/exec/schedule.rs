//! Which step may run next: in-degrees, ready queues, lanes and what a failure takes with it, as a state machine without
//! threads or clocks, so that random graphs and random failures can be tried by the thousand.
//!
//! Which ready step goes first:
//! - Long work (copies, then mkfs) before short: those lanes are what an apply waits for. Within them the step with the longest chain
//!   still behind it.
//! - In the kernel lane the step nearest to its chain's end, so that volumes which were begun are finished before others are; what
//!   begins a chain comes last, and there the longest first. An attached loop is held by a file descriptor of this process until
//!   its mount holds it: attaching 1,000 volumes before the first is staged would need 1,000 descriptors, this way it is never
//!   more than steps at once.
//! - Among equals, the plan's order. So with one step at a time the whole order is a function of the plan: what is new is made and
//!   formatted first (mke2fs reads the whole mount table, which is short then), and the volumes follow one after the other.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::lanes::{Lane, Lanes, Limits};

/// A node of the graph, as far as scheduling goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The tasks that have to be done before it; each comes earlier in the list.
    pub after: Vec<usize>,
    /// Where it runs.
    pub lane: Lane,
}

/// What became of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// This many of its predecessors are not done.
    Waiting(usize),
    /// In the queue of its lane.
    Ready,
    Running,
    Done,
    Failed,
    Skipped,
}

/// Smallest first: how urgent, then the plan's order.
type Ready = BinaryHeap<Reverse<(usize, usize)>>;

/// The state of one execution.
#[derive(Debug)]
pub struct Scheduler {
    tasks: Vec<Task>,
    followers: Vec<Vec<usize>>,
    urgency: Vec<usize>,
    state: Vec<State>,
    ready: [Ready; 3],
    lanes: Lanes,
    open: usize,
}

impl Scheduler {
    /// Nothing has begun.
    ///
    /// # Panics
    /// When a task is `after` itself or a later one: a plan lists its steps in an order in which they could be run one by one.
    pub fn new(tasks: Vec<Task>, limits: Limits) -> Self {
        let mut followers = vec![Vec::new(); tasks.len()];
        for (index, task) in tasks.iter().enumerate() {
            for &before in &task.after {
                assert!(before < index, "a plan's steps come after those they depend on");
                followers[before].push(index);
            }
        }
        let urgency = urgency(&tasks, &followers);
        let state = tasks.iter().map(|task| State::Waiting(task.after.len())).collect();
        let (open, lanes) = (tasks.len(), Lanes::new(limits));
        let mut scheduler = Self { tasks, followers, urgency, state, ready: Default::default(), lanes, open };
        for index in 0..scheduler.tasks.len() {
            if scheduler.tasks[index].after.is_empty() {
                scheduler.make_ready(index);
            }
        }
        scheduler
    }

    fn make_ready(&mut self, index: usize) {
        self.state[index] = State::Ready;
        self.ready[self.tasks[index].lane.index()].push(Reverse((self.urgency[index], index)));
    }

    /// The next task to begin now, which then counts as running; `None` when nothing may begin before something ends.
    pub fn begin(&mut self) -> Option<usize> {
        for lane in Lane::ALL {
            if !self.ready[lane.index()].is_empty() && self.lanes.enter(lane) {
                let Reverse((_, index)) = self.ready[lane.index()].pop()?;
                self.state[index] = State::Running;
                return Some(index);
            }
        }
        None
    }

    /// A running task ended. Answers the tasks that are thereby never begun: all that depend on a failed one, in order.
    ///
    /// # Panics
    /// When the task is not running.
    pub fn complete(&mut self, index: usize, ok: bool) -> Vec<usize> {
        assert_eq!(self.state[index], State::Running, "only a running task can end");
        self.lanes.leave(self.tasks[index].lane);
        self.open -= 1;
        self.state[index] = if ok { State::Done } else { State::Failed };
        if ok {
            for follower in self.followers[index].clone() {
                if let State::Waiting(left) = self.state[follower] {
                    if left == 1 {
                        self.make_ready(follower);
                    } else {
                        self.state[follower] = State::Waiting(left - 1);
                    }
                }
            }
            Vec::new()
        } else {
            self.skip_followers(index)
        }
    }

    fn skip_followers(&mut self, failed: usize) -> Vec<usize> {
        let mut skipped = Vec::new();
        let mut reached = self.followers[failed].clone();
        while let Some(index) = reached.pop() {
            if matches!(self.state[index], State::Waiting(_)) {
                self.state[index] = State::Skipped;
                self.open -= 1;
                skipped.push(index);
                reached.extend(&self.followers[index]);
            }
        }
        skipped.sort_unstable();
        skipped
    }

    /// Begins nothing more; what runs may end. Answers the tasks that are thereby never begun, in order.
    pub fn halt(&mut self) -> Vec<usize> {
        self.ready = Default::default();
        let begun = |state: &State| !matches!(state, State::Waiting(_) | State::Ready);
        let skipped: Vec<_> = (0..self.tasks.len()).filter(|&index| !begun(&self.state[index])).collect();
        for &index in &skipped {
            self.state[index] = State::Skipped;
        }
        self.open -= skipped.len();
        skipped
    }

    /// Whether every task was done, failed or skipped.
    pub const fn is_finished(&self) -> bool {
        self.open == 0
    }

    /// What runs now, by lane.
    pub const fn lanes(&self) -> &Lanes {
        &self.lanes
    }
}

/// For each task a number that is smaller the sooner it should go, among those of its lane.
fn urgency(tasks: &[Task], followers: &[Vec<usize>]) -> Vec<usize> {
    let mut chain = vec![1; tasks.len()];
    for index in (0..tasks.len()).rev() {
        chain[index] = 1 + followers[index].iter().map(|&follower| chain[follower]).max().unwrap_or(0);
    }
    let most = tasks.len();
    let rank = |(task, chain): (&Task, usize)| match task.lane {
        Lane::Kernel if task.after.is_empty() => 2 * most - chain,
        Lane::Kernel => chain,
        Lane::Mkfs | Lane::Copy => most - chain,
    };
    tasks.iter().zip(chain).map(rank).collect()
}
