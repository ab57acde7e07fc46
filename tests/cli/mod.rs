//! The command line as users meet it: the built binary, its help, exit codes, documents and generated files.

mod after_boot;
mod behind;
mod busy;
mod completion;
mod documents;
mod errors;
mod examples;
mod exits;
mod generated;
mod halfway;
mod help;
mod looking;
mod machine;
mod moved;
mod plan_text;
mod prompts;
mod run;
mod verbose;
