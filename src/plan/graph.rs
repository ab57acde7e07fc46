//! The graph of steps: nodes are pushed in any order, edges say "not before", and [`Graph::order`] turns both into the
//! numbered list a plan shows and the executor runs. Linear in nodes and edges but for one sort.

use std::path::PathBuf;

use crate::model::{Action, Name, ObjectRef};

use super::{Risk, Step};

/// A node of the graph, valid for the graph that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node(usize);

/// Steps that wait for each other and could never begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cycle {
    /// What they act on, each once, sorted.
    pub objects: Vec<ObjectRef>,
}

/// Steps and what each has to wait for.
#[derive(Debug, Default)]
pub(super) struct Graph {
    steps: Vec<Step>,
}

impl Graph {
    /// Adds a step; pod and path are those of a publish or unpublish.
    pub fn push(&mut self, action: Action, risk: Risk, reason: impl Into<String>) -> Node {
        let (pod, path) = place(&action);
        let index = self.steps.len();
        self.steps.push(Step { index, action, pod, path, after: Vec::new(), risk, reason: reason.into() });
        Node(index)
    }

    /// `later` waits for `earlier`.
    pub fn edge(&mut self, earlier: Node, later: Node) {
        debug_assert_ne!(earlier, later, "a step never waits for itself");
        self.steps[later.0].after.push(earlier.0);
    }

    /// A step puts at least this much at stake, and if that is more than it did, for this reason.
    pub fn raise(&mut self, node: Node, risk: Risk, reason: &str) {
        let step = &mut self.steps[node.0];
        if risk > step.risk {
            step.risk = risk;
            reason.clone_into(&mut step.reason);
        }
    }

    /// What the steps do, in the order in which they were pushed.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.steps.iter().map(|step| &step.action)
    }

    /// `later` waits for each of `earlier`.
    pub fn edges(&mut self, earlier: &[Node], later: Node) {
        for &node in earlier {
            self.edge(node, later);
        }
    }

    /// Numbers the steps so that each comes after all it waits for: by the length of the longest chain before it, then as
    /// they were pushed. So all that can begin at once stands together, and the same pushes give the same numbers.
    ///
    /// # Errors
    /// The objects whose steps wait for each other.
    pub fn order(mut self) -> Result<Vec<Step>, Cycle> {
        for step in &mut self.steps {
            step.after.sort_unstable();
            step.after.dedup();
        }
        let levels = self.levels()?;
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        order.sort_by_key(|&index| (levels[index], index));
        let mut number = vec![0_usize; order.len()];
        for (new, &old) in order.iter().enumerate() {
            number[old] = new;
        }
        for step in &mut self.steps {
            step.index = number[step.index];
            for before in &mut step.after {
                *before = number[*before];
            }
            step.after.sort_unstable();
        }
        self.steps.sort_unstable_by_key(|step| step.index);
        Ok(self.steps)
    }

    /// For each step the length of the longest chain before it (Kahn's algorithm).
    fn levels(&self) -> Result<Vec<usize>, Cycle> {
        let mut waits: Vec<usize> = self.steps.iter().map(|step| step.after.len()).collect();
        let mut followers: Vec<Vec<usize>> = vec![Vec::new(); self.steps.len()];
        for (index, step) in self.steps.iter().enumerate() {
            for &before in &step.after {
                followers[before].push(index);
            }
        }
        let mut levels = vec![0_usize; self.steps.len()];
        let mut ready: Vec<usize> = (0..waits.len()).filter(|&index| waits[index] == 0).collect();
        let mut done = 0;
        while let Some(index) = ready.pop() {
            done += 1;
            for &follower in &followers[index] {
                levels[follower] = levels[follower].max(levels[index] + 1);
                waits[follower] -= 1;
                if waits[follower] == 0 {
                    ready.push(follower);
                }
            }
        }
        if done == self.steps.len() {
            return Ok(levels);
        }
        let stuck = self.steps.iter().zip(&waits).filter(|(_, waits)| **waits > 0);
        let mut objects: Vec<_> = stuck.map(|(step, _)| step.object()).collect();
        objects.sort();
        objects.dedup();
        Err(Cycle { objects })
    }
}

fn place(action: &Action) -> (Option<Name>, Option<PathBuf>) {
    match action {
        Action::Publish(publish) => (Some(publish.pod.clone()), Some(publish.target.clone())),
        Action::Unpublish(request) => (request.pod.clone(), Some(request.target.clone())),
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detach(graph: &mut Graph, name: &str) -> Node {
        graph.push(Action::Detach(name.parse().unwrap()), Risk::None, "")
    }

    #[test]
    fn steps_that_can_begin_together_stand_together() {
        let mut graph = Graph::default();
        let a1 = detach(&mut graph, "p.a1");
        let a2 = detach(&mut graph, "p.a2");
        let _b1 = detach(&mut graph, "p.b1");
        graph.edge(a1, a2);
        graph.edge(a1, a2);

        let steps = graph.order().unwrap();

        let shown: Vec<_> =
            steps.iter().map(|step| (step.id(), step.object().to_string(), step.after.clone())).collect();
        let expected = [("s1", "volume.a1", vec![]), ("s2", "volume.b1", vec![]), ("s3", "volume.a2", vec![0])];
        assert_eq!(shown, expected.map(|(id, object, after)| (id.to_owned(), object.to_owned(), after)));
    }

    #[test]
    fn a_circle_names_who_is_in_it() {
        let mut graph = Graph::default();
        let a = detach(&mut graph, "p.a");
        let b = detach(&mut graph, "p.b");
        detach(&mut graph, "p.c");
        graph.edge(a, b);
        graph.edge(b, a);

        let cycle = graph.order().unwrap_err();

        assert_eq!(cycle.objects.iter().map(ToString::to_string).collect::<Vec<_>>(), ["volume.a", "volume.b"]);
    }
}
