//! Types shared by the kernel programs and the agent.
