//! From an intent to its end, the same for apply, destroy and the imperative forms: look, plan, judge every guard before the
//! first effect, ask, run, report.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::args::values::{ApproveArg, ApproveKind};
use super::args::{OnError, RunArgs};
use super::context::{Context, Looked};
use super::exit::Exit;
use super::problem::{Failure, Problem, Result};
use super::render::plan::PlanView;
use super::render::progress::Silent;
use super::render::style::{Painted, RED, count};
use super::render::{self, outcome};
use super::{ask, busy, tools};
use crate::driver::DriverError;
use crate::driver::local::{LocalDriver, gc};
use crate::exec::{self, Options, StepFailure, Stop, Summary};
use crate::host::{Host, LockMode};
use crate::model::observed::ObservedVolume;
use crate::model::record::LimitsRecord;
use crate::model::{Action, Approval, Desired, ObjectRef, Observed, Owner, VolumeId};
use crate::plan::back::Ended;
use crate::plan::{self, ApprovedPlan, Intent, MissingApproval, Plan};
use crate::state::{StateError, Store, VolumeLock, lock};

/// What is to be done.
pub struct Job<'a> {
    /// What is wanted.
    pub desired: &'a Desired,
    /// What is asked of it.
    pub intent: &'a Intent,
    /// What was seen.
    pub looked: &'a Looked,
    /// `--approve`, as typed.
    pub approve: &'a [ApproveArg],
    /// Approvals given otherwise (`--delete-data`).
    pub approved: BTreeSet<Approval>,
    /// Asking and failing.
    pub run: &'a RunArgs,
    /// When a volume is refused: do nothing at all, or go on without it.
    pub on_refusal: OnError,
    /// The command in the past: `applied`.
    pub past: &'static str,
    /// The command to type to do it again.
    pub command: String,
    /// Judges the plan before anything else does: a plan file that went stale.
    pub check: &'a dyn Fn(&Plan) -> Result<()>,
}

/// Remembers the limits of the manifest's pools, for what is done to its volumes by name later on.
fn remember_limits(context: &Context, host: &dyn Host, job: &Job<'_>) {
    if !matches!(job.intent, Intent::Apply) {
        return;
    }
    let pools = job.desired.pools.values();
    let limits = pools.filter_map(|pool| Some((pool.path.clone(), pool.limit?))).collect();
    let record = LimitsRecord { project: job.desired.project.clone(), limits };
    if let Err(error) = Store::new(host, &context.layout).put_limits(&record) {
        tracing::warn!("the limits of the pools are not remembered: {error}");
    }
}

/// Undoes what killed runs left in the way: file systems still frozen, and this project's half-made files. It never stands in the
/// way of the work itself: what can't be undone now is shown by `gc`.
fn clear_left(context: &Context, host: &dyn Host, job: &Job<'_>) {
    match gc::thaw_left(host, &context.layout) {
        Ok(thawed) => thawed.iter().for_each(|path| tracing::warn!("{} was left frozen: thawed", path.display())),
        Err(error) => {
            tracing::warn!("what an earlier run left frozen may still be: {error}; fsfreeze --unfreeze thaws it");
        }
    }
    let pools: Vec<_> = job.looked.observed.pools.values().map(|pool| pool.pool.path.clone()).collect();
    let owner = Owner::Project(job.desired.project.clone());
    if let Err(error) = gc::clear_temporaries(host, &context.layout, &owner, &pools) {
        tracing::warn!("temporary files of an earlier run stay: {error}; csictl gc shows them");
    }
}

/// Does it.
///
/// # Errors
/// Whatever keeps it from beginning; what fails on the way is reported here.
pub fn perform(context: &Context, host: &Arc<dyn Host>, job: &Job<'_>) -> Result<Exit> {
    context.check_state(&**host)?;
    let hold = |id: &VolumeId| hold(context, &**host, &job.looked.observed, id);
    let (plan, seen) = busy::plan(&**host, job.desired, &job.looked.observed, &context.layout, job.intent, &hold)?;
    let observed = &*seen;
    (job.check)(&plan)?;
    let (plan, aside) = match job.on_refusal {
        OnError::Continue if !plan.refused.is_empty() => {
            plan::around(job.desired, observed, &context.layout, job.intent)
        }
        _ => (plan, Vec::new()),
    };
    // Every guard that can be judged before the first effect is judged here: any no that was not planned around, and nothing is done.
    if !plan.refused.is_empty() {
        return Err(refused(&plan));
    }
    for refused in &aside {
        context.printer.err(format!("{} ({}): left as it is", Problem::of_refused(refused), refused.help));
    }
    if plan.is_empty() {
        if job.looked.observed.host.privileged {
            clear_left(context, &**host, job);
            remember_limits(context, &**host, job);
        }
        let exit = nothing_to_do(context, job, &plan)?;
        return Ok(if aside.is_empty() { exit } else { Exit::Partial });
    }
    privilege(job.looked, &plan)?;
    tools::check(|| host.tools(), &plan, observed)?;
    let (approvals, typed) = approvals(context, job, &plan)?;
    if job.run.yes {
        // Nobody is shown the plan, and what it has to say beside its steps is worth hearing all the same.
        notes(context, &plan);
    } else {
        confirm(context, job, &plan, typed)?;
    }
    let unknown = plan.unknown.clone();
    let approved = plan.approve(&approvals).map_err(|missing| unapproved(&missing, &job.command))?;
    clear_left(context, &**host, job);
    remember_limits(context, &**host, job);
    let stop = Stop::on_signals().map_err(|error| {
        Failure::new(Exit::Failed, Problem::new("host::other", "cannot listen for signals").cause(error.to_string()))
    })?;
    let driver = LocalDriver::new(Arc::clone(host), context.layout.clone())
        .with_lock_timeout(context.lock_timeout)
        .with_pools(job.desired.pools.values())
        .with_approved(approvals)
        .with_unprotected(
            job.desired.volumes.values().filter(|spec| !spec.prevent_destroy).map(|spec| spec.id.clone()),
        );
    if job.on_refusal == OnError::Stop {
        can_be_modified(&driver, &approved)?;
    }
    let options = Options {
        parallelism: context.parallelism,
        on_error: match job.run.on_error {
            OnError::Stop => exec::OnError::Stop,
            OnError::Continue => exec::OnError::Continue,
        },
        step_timeout: context.step_timeout,
    };
    let listener = context.progress.listen(&context.printer, approved.steps());
    let mut summary = exec::execute(&approved, &driver, &options, &*listener, &stop);
    drop(listener);
    if !(summary.failed.is_empty() || summary.interrupted) {
        let run = |back: &ApprovedPlan| exec::execute(back, &driver, &options, &Silent, &stop);
        put_back(approved.plan(), observed, &mut summary, run);
    }
    report(context, job, approved.steps(), &summary);
    for (object, cause) in &unknown {
        context.printer.note(format!("{object}: left as it is, since its state could not be read: {cause}"));
    }
    let exit = Exit::of_summary(&summary, signal(&stop));
    Ok(if exit == Exit::Done && !(unknown.is_empty() && aside.is_empty()) { Exit::Partial } else { exit })
}

/// A volume's lock, waited for; none where no lock can be had at all, which the verbs say.
fn hold(
    context: &Context,
    host: &dyn Host,
    observed: &Observed,
    id: &VolumeId,
) -> std::result::Result<Option<VolumeLock>, DriverError> {
    if !observed.host.privileged {
        return Ok(None);
    }
    let (layout, timeout) = (&context.layout, context.lock_timeout);
    let lock = lock::share_global(host, layout, timeout)
        .and_then(|global| VolumeLock::within(Arc::new(global), host, layout, id, LockMode::Exclusive, timeout));
    match lock {
        Err(StateError::LockHeld(_)) => Err(DriverError::LockHeld { object: ObjectRef::Volume(id.clone()) }),
        lock => Ok(lock.ok()),
    }
}

/// Asks of what is to be taken down and changed whether it can be, as far as only the machine itself can say.
fn can_be_modified(driver: &LocalDriver, approved: &ApprovedPlan) -> Result<()> {
    let pause =
        |id: &VolumeId| approved.steps().iter().any(|step| matches!(&step.action, Action::Unstage(of) if of.id == *id));
    for step in approved.steps() {
        if let Action::Modify(spec) = &step.action
            && pause(&spec.id)
            && let Err(error @ DriverError::Refused { .. }) = driver.try_modify(spec)
        {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Brings back what was taken down for a change that then could not be made, and writes it into the summary.
fn put_back(plan: &Plan, observed: &Observed, summary: &mut Summary, run: impl FnOnce(&ApprovedPlan) -> Summary) {
    let mut ended = vec![Ended::Skipped; plan.steps.len()];
    summary.done.iter().for_each(|(index, ..)| ended[*index] = Ended::Done);
    for failure in &summary.failed {
        let refused = matches!(failure.error, DriverError::Refused { .. });
        ended[failure.step] = if refused { Ended::Refused } else { Ended::Failed };
    }
    let (back, places) = plan::back::back(plan, observed, &ended);
    if back.steps.is_empty() {
        return;
    }
    // Nothing of the way up loses data, so that nothing is missing here.
    let Ok(back) = back.approve(&BTreeSet::new()) else { return };
    let came = run(&back);
    let moved: BTreeSet<usize> = came
        .done
        .iter()
        .map(|(at, ..)| *at)
        .chain(came.failed.iter().map(|failure| failure.step))
        .map(|at| places[at])
        .collect();
    summary.skipped.retain(|(index, _)| !moved.contains(index));
    summary.done.extend(came.done.into_iter().map(|(at, done, mut notes)| {
        let step = &plan.steps[places[at]];
        let place = step.path.as_ref().map_or_else(String::new, |path| format!(" at {}", path.display()));
        let was_up = match step.object() {
            ObjectRef::Volume(id) => observed.volumes.get(&id).is_some_and(ObservedVolume::is_up),
            _ => true,
        };
        let how = if was_up { "put back" } else { "brought up" };
        notes.push(format!("{how}{place} as it was: the change was not made"));
        (places[at], done, notes)
    }));
    let failed = came.failed.into_iter().map(|failure| StepFailure { step: places[failure.step], ..failure });
    summary.failed.extend(failed);
    summary.done.sort_unstable_by_key(|(index, ..)| *index);
    summary.failed.sort_unstable_by_key(|failure| failure.step);
    summary.took += came.took;
}

fn signal(stop: &Stop) -> Option<Exit> {
    match stop.exit_code() {
        Some(code) if code == Exit::Terminated.code() => Some(Exit::Terminated),
        Some(code) if code == Exit::HungUp.code() => Some(Exit::HungUp),
        Some(_) => Some(Exit::Interrupted),
        None => None,
    }
}

fn report(context: &Context, job: &Job<'_>, steps: &[plan::Step], summary: &Summary) {
    if context.json() {
        context.printer.out_raw(&outcome::json(steps, summary));
    } else {
        context.printer.out(outcome::text(steps, summary, job.past, &job.command, context.verbose));
    }
}

/// The refusals of a plan as a failure.
pub fn refused(plan: &Plan) -> Failure {
    let exits: BTreeSet<_> = plan.refused.iter().map(|refused| Exit::of_refusal(refused.code)).collect();
    let exit = if exits.contains(&Exit::Refused) { Exit::Refused } else { Exit::Missing };
    Failure::Problems(exit, plan.refused.iter().map(Problem::of_refused).collect())
}

fn text(job: &Job<'_>, plan: &Plan) -> String {
    render::plan::text(&PlanView {
        plan,
        host: &job.looked.observed.host.hostname,
        observed_in: job.looked.took,
        heading: "apply: nothing is changed yet",
        command: &job.command,
        delete_data: matches!(job.intent, Intent::Destroy { .. }),
    })
}

fn nothing_to_do(context: &Context, job: &Job<'_>, plan: &Plan) -> Result<Exit> {
    if !plan.unknown.is_empty() {
        return Err(unknown(plan, unread(job.looked)));
    }
    if context.json() {
        context.printer.out_raw(&outcome::json(&[], &Summary::default()));
        return Ok(Exit::Done);
    }
    context.printer.out(match job.intent {
        Intent::Apply => render::plan::no_changes(plan),
        Intent::Destroy { .. } => format!("no changes: nothing of {} is up", plan.desired.manifest),
        _ => "no changes: it is so already".to_owned(),
    });
    notes(context, plan);
    Ok(Exit::Done)
}

fn notes(context: &Context, plan: &Plan) {
    for (object, note) in &plan.notes {
        context.printer.note(format!("{object}: {note}"));
    }
}

/// The exit code where something could not be read: for want of a right, or because of what is there.
pub const fn unread(looked: &Looked) -> Exit {
    if looked.observed.host.privileged { Exit::Failed } else { Exit::Privilege }
}

/// What could not be read, as a failure.
pub fn unknown(plan: &Plan, exit: Exit) -> Failure {
    let help = match exit {
        Exit::Privilege => "run as root",
        _ => "mend or move away what is named there, and try again",
    };
    let problem = |(object, cause): &(ObjectRef, String)| {
        Problem::new("cli::unknown-state", format!("{object}: its state could not be read")).cause(cause).help(help)
    };
    Failure::Problems(exit, plan.unknown.iter().map(problem).collect())
}

fn privilege(looked: &Looked, plan: &Plan) -> Result<()> {
    if looked.observed.host.privileged {
        return Ok(());
    }
    let message = format!("these {} take root (CAP_SYS_ADMIN)", count(plan.steps.len(), "step"));
    let problem = Problem::new("cli::privilege", message).help("run it with sudo; 'csictl plan' works without");
    Err(Failure::new(Exit::Privilege, problem))
}

/// Matches approvals with the plan's losses, asking for names where somebody can answer. Also says whether anything was typed.
fn approvals(context: &Context, job: &Job<'_>, plan: &Plan) -> Result<(BTreeSet<Approval>, bool)> {
    let losses = plan.losses();
    let mut approvals = job.approved.clone();
    for arg in job.approve {
        let met: Vec<_> =
            losses.iter().filter(|missing| names(arg, &missing.object) && arg.loss == missing.loss).collect();
        if met.is_empty() {
            let kind = if arg.kind == ApproveKind::Volume { "volume" } else { "snapshot" };
            let (name, loss) = (&arg.name, arg.loss);
            context.printer.note(format!("--approve {kind}.{name}={loss}: nothing in this plan needs it"));
        }
        approvals.extend(met.into_iter().map(|m| Approval { object: m.object.clone(), loss: m.loss }));
    }
    let missing: Vec<_> = losses
        .into_iter()
        .filter(|m| !approvals.contains(&Approval { object: m.object.clone(), loss: m.loss }))
        .collect();
    if missing.is_empty() {
        return Ok((approvals, false));
    }
    if !ask::possible(&context.printer) {
        return Err(unapproved(&missing, &job.command));
    }
    context.printer.err(text(job, plan));
    for missing in missing {
        let name = short(&missing.object);
        let question = format!(
            "\n{} loses its data ({}). Type its name, {name}, to let it:",
            Painted(RED, &missing.object),
            missing.loss
        );
        if !ask::typed(&context.printer, &question, &name) {
            return Err(not_confirmed("the name was not typed"));
        }
        approvals.insert(Approval { object: missing.object, loss: missing.loss });
    }
    Ok((approvals, true))
}

fn short(object: &ObjectRef) -> String {
    object.to_string().split_once('.').map(|(_, name)| name.to_owned()).unwrap_or_default()
}

fn names(arg: &ApproveArg, object: &ObjectRef) -> bool {
    match (arg.kind, object) {
        (ApproveKind::Volume, ObjectRef::Volume(id)) => id.as_str() == arg.name || id.short() == arg.name,
        (ApproveKind::Snapshot, ObjectRef::Snapshot(id)) => id.as_str() == arg.name || id.short() == arg.name,
        _ => false,
    }
}

fn unapproved(missing: &[MissingApproval], command: &str) -> Failure {
    let flags: Vec<_> = missing.iter().map(|m| format!("--approve {}={}", m.object, m.loss)).collect();
    let help = format!("if it may be lost, type: {command} {}", flags.join(" "));
    let problem = |m: &MissingApproval| {
        Problem::new("guard::unapproved", format!("{} would lose its data ({})", m.object, m.loss)).help(&help)
    };
    Failure::Problems(Exit::Refused, missing.iter().map(problem).collect())
}

fn not_confirmed(why: &str) -> Failure {
    let problem = Problem::new("cli::not-confirmed", format!("nothing was done: {why}"));
    Failure::new(Exit::Refused, problem.help("--yes answers yes; a loss of data needs --approve as well"))
}

fn confirm(context: &Context, job: &Job<'_>, plan: &Plan, shown: bool) -> Result<()> {
    if !ask::possible(&context.printer) {
        return Err(not_confirmed("there is no terminal to ask on, and no --yes"));
    }
    if !shown {
        context.printer.err(text(job, plan));
    }
    let question = match plan.steps.as_slice() {
        [step] => format!("\nDo this step ({} {})?", step.verb(), step.object()),
        steps => format!("\nDo these {} steps?", steps.len()),
    };
    if ask::yes(&context.printer, &question) { Ok(()) } else { Err(not_confirmed("the answer was not yes")) }
}
