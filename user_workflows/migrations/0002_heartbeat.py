"""A help text; changes nothing in the database."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('user_workflows', '0001_initial'),
    ]

    operations = [
        migrations.AlterField(
            model_name='usertaskstatus',
            name='last_seen_at',
            field=models.DateTimeField(blank=True, editable=False, help_text="A worker's last heartbeat", null=True),
        ),
    ]
